"""Every tensor of the segmentation graph that is not a weight, on both sides of the bus."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from semla_ros.engine.tensorrt.cuda import Cuda
from semla_ros.engine.tensorrt.execution import Feed, Mirror, tensor_names
from semla_ros.engine.tensorrt.options import IMAGE, LOGITS, TEXT, ClassRange
from semla_ros.engine.tensorrt.probe import Question
from semla_ros.engine.tensorrt.refit_map import DTYPES
from semla_ros.engine.weights import SECOND_TAP
from semla_ros.errors import EngineError
from semla_ros.types import Float32Array

_SERVING = 2
BASE_TAP = 2


@dataclass(frozen=True, slots=True)
class Interface:
    """What an engine's tensors look like.

    Attributes:
        size: Side S of the image.
        width: D of the text features.
        map_size: (h, w) of the logits.
        tap: dtype of `second_tap`, None where the graph has it not.
    """

    size: int
    width: int
    map_size: tuple[int, int]
    tap: npt.DTypeLike | None

    @classmethod
    def of(cls, engine: Any) -> Interface:  # noqa: ANN401  trt.ICudaEngine
        """Return the interface of `engine`.

        Raises:
            EngineError: It is not that of a segmentation graph.
        """
        names = tensor_names(engine)
        if not {IMAGE, TEXT, LOGITS} <= set(names):
            raise EngineError(
                f"expected tensors {(IMAGE, TEXT, LOGITS)!r} in the plan, got {names[:6]!r}: "
                "build it again"
            )
        image, text, logits = (
            tuple(engine.get_tensor_shape(name)) for name in (IMAGE, TEXT, LOGITS)
        )
        floats = {engine.get_tensor_dtype(name).name for name in (IMAGE, TEXT, LOGITS)}
        fixed = (*image, text[1], *logits[2:])
        if floats != {"FLOAT"} or min(fixed) < 1 or image[0] != 1 or image[2] != image[3]:
            raise EngineError(
                f"expected FLOAT tensors image (1, 3, S, S), text (T, D), logits (1, T, h, w) in "
                f"the plan, got {image!r}, {text!r}, {logits!r} of {sorted(floats)!r}: build it "
                "again"
            )
        tap = DTYPES[engine.get_tensor_dtype(SECOND_TAP).name] if SECOND_TAP in names else None
        return cls(image[2], text[1], (logits[2], logits[3]), tap)


class SegmentationTensors:
    """Inputs and output of both slots and of the probe.

    Frames of both slots share image and logits; each slot has its own text features and tap.

    Attributes:
        image: (1, 3, S, S) float32 in page-locked memory, what the next frame is.
        feeds: One for each slot.
        probe: The fixed question, on the device already.
    """

    def __init__(
        self,
        cuda: Cuda,
        interface: Interface,
        classes: ClassRange,
        *,
        ask: Question,
        resources: ExitStack,
        stream: int,
    ) -> None:
        """Allocate for the longest class list; `resources` frees."""
        self._cuda = cuda
        self._interface = interface
        self._stream = stream
        self._shaped = () if classes.static else (TEXT,)

        def mirror(shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32) -> Mirror:
            made = Mirror(cuda, shape, dtype)
            resources.callback(made.free)
            return made

        picture = (1, 3, interface.size, interface.size)
        logits = (1, classes.high, *interface.map_size)
        self._image, self._logits = mirror(picture), mirror(logits)
        self.feeds = [
            self._feed(mirror, self._image, self._logits, classes=classes) for _ in range(_SERVING)
        ]
        self.probe = self._feed(mirror, mirror(picture), mirror(logits), classes=classes)
        self._ask(ask)

    @property
    def image(self) -> Float32Array:
        """The next frame's input, to be written in place."""
        image: Float32Array = self._image.host
        return image

    def set_text(self, index: int, features: Float32Array, tap: int | None) -> None:
        """Bring text features (T, D) and the tap of slot `index` to the device."""
        self._set(self.feeds[index], features, tap)
        self._cuda.synchronize(self._stream)

    def classes(self, index: int) -> int:
        """Return how many classes slot `index` tells apart."""
        return int(self.feeds[index].inputs[TEXT].host.shape[0])

    def _feed(
        self,
        mirror: Callable[..., Mirror],
        image: Mirror,
        logits: Mirror,
        *,
        classes: ClassRange,
    ) -> Feed:
        inputs = {IMAGE: image, TEXT: mirror((classes.high, self._interface.width))}
        if self._interface.tap is not None:
            inputs[SECOND_TAP] = mirror((1,), self._interface.tap)
        return Feed(inputs, (LOGITS, logits), shaped=self._shaped)

    def _ask(self, ask: Question) -> None:
        np.copyto(self.probe.inputs[IMAGE].host, ask.image)
        self.probe.inputs[IMAGE].upload(self._stream)
        self._set(self.probe, ask.text, BASE_TAP)
        _, logits = self.probe.output
        logits.reshape((1, len(ask.text), *self._interface.map_size))
        self._cuda.synchronize(self._stream)

    def _set(self, feed: Feed, features: Float32Array, tap: int | None) -> None:
        text = feed.inputs[TEXT]
        text.reshape(features.shape)
        np.copyto(text.host, features)
        text.upload(self._stream)
        if SECOND_TAP in feed.inputs:
            feed.inputs[SECOND_TAP].host[0] = BASE_TAP if tap is None else tap
            feed.inputs[SECOND_TAP].upload(self._stream)

    def run(self, index: int, serve: Callable[[int, Feed], None], *, stream: int) -> Float32Array:
        """Return the logits (T, h, w) of `image` with slot `index`; the next run reuses them."""
        feed = self.feeds[index]
        self._logits.reshape((1, self.classes(index), *self._interface.map_size))
        self._image.upload(stream)
        serve(index, feed)
        self._logits.download(stream)
        self._cuda.synchronize(stream)
        logits: Float32Array = self._logits.host[0]
        return logits
