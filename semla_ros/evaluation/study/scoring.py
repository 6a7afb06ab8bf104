"""One mask against its truth: what a study keeps of every frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semla_ros.core.mask_signals import mask_signals
from semla_ros.core.types import LabelArray, UInt8Array
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
    if truth is None:
        counts = np.zeros((3, classes), dtype=np.int64)
    else:
        same = truth.shape == size
        counts = frame_counts(
            truth, mask if same else restore(labels, truth.shape[:2]), classes=classes
        )
    return FrameScore(counts, mask_signals(labels, confidence), mask_crc32(mask))
