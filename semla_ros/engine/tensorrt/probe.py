"""A fixed question with known answers: how a refit is told from a broken one.

Everything is computed from sines, so that the question is the same in every version of numpy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from semla_ros.bundle import ModelBundle
from semla_ros.engine.tensorrt.options import FP16, FP32, IMAGE, LOGITS, TEXT
from semla_ros.engine.tensorrt.plan_cache import Golden
from semla_ros.engine.weights import graph_array
from semla_ros.errors import EngineError
from semla_ros.manifest import GraphWeight
from semla_ros.onnx_session import ORT_ERRORS, open_session
from semla_ros.types import Float32Array

BASE, NUDGED = "base", "nudged"

GOLDEN_ERROR: Mapping[str, float] = {FP16: 2e-2, FP32: 2e-3}
"""Largest relative error (L2) against the reference with the same weights."""

_NUDGE = 0.5
_SAMPLES = 8192


@dataclass(frozen=True, slots=True)
class Question:
    """Inputs of the probe.

    Attributes:
        image: (1, 3, S, S) float32, RGB 0..255.
        text: (T, D) float32, L2-normalised.
    """

    image: Float32Array
    text: Float32Array


def question(*, size: int, classes: int, width: int) -> Question:
    """Return the probe of a network of side `size` for `classes` text features of `width`."""
    image = 127.5 * (1 + _waves(3 * size * size, 0.37).reshape(1, 3, size, size))
    text = _waves(classes * width, 1.61).reshape(classes, width)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    return Question(image.astype(np.float32), text.astype(np.float32))


def nudged(weight: Float32Array) -> Float32Array:
    """Return `weight` with up to half its spread added, another amount to every value."""
    waves = _waves(weight.size, 12.9898).reshape(weight.shape)
    return (weight + _NUDGE * float(weight.std()) * waves).astype(np.float32)


class NudgedWeights(Mapping[str, Float32Array]):
    """Layer name -> `nudged` base weight (out, in), made when asked for: never all in memory."""

    def __init__(self, base: Mapping[str, Float32Array]) -> None:
        self._base = base

    def __getitem__(self, layer: str) -> Float32Array:
        return nudged(self._base[layer])

    def __contains__(self, layer: object, /) -> bool:
        return layer in self._base

    def __iter__(self) -> Iterator[str]:
        return iter(self._base)

    def __len__(self) -> int:
        return len(self._base)


def goldens(
    bundle: ModelBundle,
    layers: Mapping[str, GraphWeight],
    base: Mapping[str, Float32Array],
    *,
    classes: int,
    threads: int,
) -> tuple[Golden, ...]:
    """Return what ONNX Runtime answers in FP32, with the base weights and with nudged ones.

    Args:
        bundle: The model.
        layers: Adaptable layers of its segmentation graph.
        base: Layer name -> W0 (out, in).
        classes: How many classes to ask for.
        threads: CPU threads.

    Raises:
        BundleError: The graph does not load.
        EngineError: It does not run.
    """
    session = open_session(bundle.segmentation_graph, threads=threads)
    widths = {each.name: each.shape[-1] for each in session.get_inputs()}
    size = bundle.manifest.segmentation.size
    ask = question(size=size, classes=classes, width=widths[TEXT])
    changed = {
        layer.initializer: graph_array(nudged(base[name]), layer) for name, layer in layers.items()
    }
    feeds: Mapping[str, Mapping[str, Float32Array]] = {BASE: {}, NUDGED: changed}
    found = []
    for weights, feed in feeds.items():
        try:
            (logits,) = session.run([LOGITS], {IMAGE: ask.image, TEXT: ask.text, **feed})
        except ORT_ERRORS as error:
            raise EngineError(
                f"the reference run with {weights} weights failed: {error}"
            ) from error
        found.append(sampled(logits, weights=weights))
    return tuple(found)


def sampled(logits: Float32Array, *, weights: str) -> Golden:
    """Return every n-th of `logits`, some thousands in all."""
    flat = logits.reshape(-1)
    stride = max(1, flat.size // _SAMPLES)
    return Golden(weights, flat[::stride].astype(np.float32), stride)


def relative_error(answer: Float32Array, golden: Golden) -> float:
    """Return ||answer - golden|| / ||golden|| at the samples; infinite for another size."""
    got = answer.reshape(-1)[:: golden.stride].astype(np.float64)
    if got.shape != golden.sample.shape:
        return float("inf")
    expected = golden.sample.astype(np.float64)
    return float(np.linalg.norm(got - expected) / max(float(np.linalg.norm(expected)), 1e-30))


def _waves(count: int, step: float) -> npt.NDArray[np.float64]:
    return np.sin(step * np.arange(1, count + 1, dtype=np.float64) ** 1.1)
