"""What every engine does: prepare aside, commit between frames, infer with one set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from semla_ros.bundle import SIGMOID, GraphWeight
from semla_ros.core.answers import Prediction
from semla_ros.core.engines import CPU, F32
from semla_ros.core.types import AdapterMix, Float32Array, UInt8Array, Vocabulary
from semla_ros.core.weights import WeightSet

if TYPE_CHECKING:
    from typing_extensions import Self

READY, BUILDING = "ready", "building"
NOT_PROVED = "swaps are proved by their weights alone"

Tell = Callable[[str, int, int], bool]
"""Told how far a long build is: phase, steps done, steps in all; False: it may stop."""


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What an engine is, as long as it is.

    Attributes:
        name: A key of `ENGINES`.
        layers: Adaptable layers of the segmentation graph by name.
        size: (H, W) of the network's input.
        feature_dim: Width D of text features; None: any; 0: it takes none and knows
            `max_classes` classes, no others.
        max_classes: Longest class list; None: any.
        precision: What matrices are multiplied in: f32, bf16 or f16.
        device: Where: cpu or cuda.
        reason: Why it is this engine.
        identity: Version and processor that decide the last bits of its answers.
        activation: What makes probabilities of its logits, see `SegmentationSpec`.
    """

    name: str
    layers: Mapping[str, GraphWeight]
    size: tuple[int, int]
    feature_dim: int | None = None
    max_classes: int | None = None
    precision: str = F32
    device: str = CPU
    reason: str = ""
    identity: str = ""
    activation: str = SIGMOID


@dataclass(frozen=True, slots=True)
class Slot:
    """What one frame is computed with; published as a whole.

    Attributes:
        index: Which of the two buffers, 0 or 1.
        mix, vocabulary: What is in it.
    """

    index: int
    mix: AdapterMix
    vocabulary: Vocabulary


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """How an engine is, for people.

    Attributes:
        state: `ready`; `building`: a better engine is being made, another one serves meanwhile.
        serving: Name of the engine that makes the masks.
        detail: More, may be empty.
    """

    state: str
    serving: str
    detail: str = ""


class SegmentationEngine(Protocol):
    """Segments images with one complete weight set at a time."""

    @property
    def facts(self) -> EngineFacts:
        """What it is."""
        ...

    @property
    def active(self) -> Slot | None:
        """What serves now; None before the first commit."""
        ...

    @property
    def status(self) -> EngineStatus:
        """How it is; any thread may ask."""
        ...

    def prepare(self, weight_set: WeightSet) -> None:
        """Fill the idle slot; slow, any thread; the active slot is not touched.

        A prepared set that was not committed is replaced.

        Raises:
            EngineError: The set does not fit the graph (then nothing was written), or it could
                not be written (then nothing is prepared).
            VocabularyError: More classes than this engine takes.
        """
        ...

    def commit(self) -> None:
        """Publish the prepared set; fast, between frames.

        Raises:
            EngineError: Nothing is prepared; the active set stays.
        """
        ...

    def probe(self, weight_set: WeightSet, image: UInt8Array | Float32Array) -> Float32Array:
        """Return the logits (T, h, w) of `image` under `weight_set`; nothing is published.

        Uses the idle slot: what was prepared there is forgotten.

        Raises:
            EngineError: The set does not fit the graph, or the network failed.
        """
        ...

    def prove(self, image: UInt8Array) -> Float32Array | None:
        """Return logits (T, h, w) of `image` under the prepared set; None if frames had to wait.

        Raises:
            EngineError: Nothing is prepared, or the network failed.
        """
        ...

    def infer(self, rgb: UInt8Array, *, keep_logits: bool = False) -> Prediction:
        """Return the segmentation of `rgb` (H, W, 3) uint8 at network resolution.

        Raises:
            FrameError: The image has another shape or type.
            EngineError: Nothing was committed yet, or the network failed.
        """
        ...

    def logits(self, image: UInt8Array | Float32Array) -> Float32Array:
        """Return logits (T, h, w) of `image` (H, W, 3), RGB 0..255, before the activation.

        Raises:
            FrameError: The image has another shape or type.
            EngineError: Nothing was committed yet, or the network failed.
        """
        ...

    def close(self) -> None:
        """Release the engine once no frame is computed any more; later calls raise EngineError.

        Closing twice is allowed.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
