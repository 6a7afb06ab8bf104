"""One frame in a study: what is known before any mask, and what a strategy made of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from semla_ros.core.answers import SupportReading
from semla_ros.core.errors import EvaluationError
from semla_ros.core.mask_signals import mask_signals
from semla_ros.core.types import (
    AdapterMix,
    Float32Array,
    Float64Array,
    Frame,
    LabelArray,
    UInt8Array,
)
from semla_ros.data.metrics import Int64Array, frame_counts
from semla_ros.engine.postprocess import restore
from semla_ros.evaluation.replay import mask_crc32


@dataclass(frozen=True, slots=True, eq=False)
class FrameScore:
    """What is kept of one mask.

    Attributes:
        counts: (3, T) int64, see `StrategyResult.counts`; zeros without truth.
        signals: Of the mask at network resolution, see `mask_signals`.
        mask_crc32: Of the mask at the image's size.
    """

    counts: Int64Array
    signals: tuple[float, ...]
    mask_crc32: int


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What one strategy did on one frame.

    Attributes:
        mix: What serves the frame; None where the strategy has no meaning.
        swapped: Another mix was committed just before.
        support: Of the gated stream, None where it would be STALE; None for other strategies.
        score: Of the mask; None where none was made.
    """

    mix: AdapterMix | None
    swapped: bool
    support: SupportReading | None = None
    score: FrameScore | None = None


@dataclass(slots=True, eq=False)
class Observation:
    """One frame as every strategy sees it.

    Attributes:
        frame: The image.
        domain: Its domain, "" if unknown; only the oracle and leave-one-out use it.
        truth: (H, W) class ids, T where not scored; None without truth.
        excluded: Adapters that are left out for this frame.
        embedding: (D,) float32; None without a navigator.
        distances: (N,) of the embedding to the adapters; empty without a navigator.
        novelty, support: See `SequenceResult`.
        scores: Mix -> its score on this frame, so that no mix is computed twice.
    """

    frame: Frame
    domain: str = ""
    truth: LabelArray | None = None
    excluded: frozenset[str] = frozenset()
    embedding: Float32Array | None = None
    distances: Float64Array = field(default_factory=lambda: np.zeros(0))
    novelty: float = math.nan
    support: float = math.nan
    scores: dict[AdapterMix, FrameScore] = field(default_factory=dict)

    @property
    def stamp_ns(self) -> int:
        """Sensor time."""
        return self.frame.stamp_ns

    @property
    def known_embedding(self) -> Float32Array:
        """(D,) float32.

        Raises:
            EvaluationError: There is no navigator.
        """
        if self.embedding is None:
            raise EvaluationError("expected a bundle with a navigator, got one without")
        return self.embedding


def score_frame(
    labels: LabelArray,
    confidence: UInt8Array,
    *,
    size: tuple[int, int],
    truth: LabelArray | None,
    classes: int,
) -> FrameScore:
    """Return the score of one mask.

    Args:
        labels: (S, S) class ids at network resolution.
        confidence: (S, S), 255 is certain.
        size: (H, W) of the image.
        truth: (h, w) ids, T where not scored; the mask is restored to this size by the nearest
            pixel, as the node restores it to the image's. None without truth.
        classes: T.
    """
    mask = restore(labels, size)
    counts = np.zeros((3, classes), dtype=np.int64)
    if truth is not None:
        sized = mask if truth.shape == size else restore(labels, truth.shape[:2])
        counts = frame_counts(truth, sized, classes=classes)
    return FrameScore(counts, mask_signals(labels, confidence), mask_crc32(mask))
