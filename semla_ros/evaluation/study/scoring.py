"""One mask against its truth, counted fast: what a study keeps of every frame."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from semla_ros.engine.postprocess import MAX_UINT8_CLASSES, restore
from semla_ros.errors import EvaluationError
from semla_ros.evaluation.replay import mask_crc32
from semla_ros.evaluation.study.record import Int64Array
from semla_ros.mask_signals import mask_signals
from semla_ros.types import LabelArray, UInt8Array

_SAME_ASPECT = 0.01
_EXACT_IN_FLOAT32 = 1 << 24
"""OpenCV counts in float32: beyond so many pixels it may miss some."""


@dataclass(frozen=True, slots=True, eq=False)
class FrameScore:
    """What is kept of one mask.

    Attributes:
        counts: (3, T) int64, see `StrategyTrack.counts`; zeros without truth.
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


def frame_counts(truth: LabelArray, predicted: LabelArray, *, classes: int) -> Int64Array:
    """Return true positives, false positives and false negatives of each class, (3, T) int64.

    Args:
        truth: (H, W) ids of 0..T; T is not scored.
        predicted: (H, W) ids; those of T and above are in no class: a miss of the true one.
        classes: T.
    """
    known = classes <= MAX_UINT8_CLASSES and int(predicted.max()) <= classes
    small = truth.dtype == predicted.dtype == np.uint8 and truth.size <= _EXACT_IN_FLOAT32
    matrix = (_histogram if known and small else _bincount)(truth, predicted, classes)
    hits = np.diagonal(matrix)
    false = matrix[:, :classes].sum(axis=0) - hits
    missed = matrix.sum(axis=1) - hits
    return np.stack([hits, false, missed]).astype(np.int64)


def _histogram(truth: LabelArray, predicted: LabelArray, classes: int) -> Int64Array:
    """Return (T, T + 1) counts by OpenCV, which needs no copy of the images."""
    side = classes + 1
    joint = cv2.calcHist([truth, predicted], [0, 1], None, [side, side], [0, side, 0, side])
    return joint.astype(np.int64).reshape(side, side)[:classes]


def _bincount(truth: LabelArray, predicted: LabelArray, classes: int) -> Int64Array:
    """Return (T, T + 1) counts of images of any type and size."""
    side = classes + 1
    pairs = truth.astype(np.int64) * side + np.minimum(predicted, classes)
    counts = np.bincount(pairs.ravel(), minlength=side * side)
    return counts.reshape(side, side)[:classes]


def check_truth_size(truth: LabelArray, size: tuple[int, int]) -> None:
    """Check that truth shows what the image shows, at whatever resolution.

    Args:
        truth: (h, w).
        size: (H, W) of the image.

    Raises:
        EvaluationError: Another aspect: a crop, or the truth of another image.
    """
    height, width = truth.shape[:2]
    stretch = (height / size[0]) / (width / size[1])
    if abs(stretch - 1.0) > _SAME_ASPECT:
        raise EvaluationError(
            f"truth of {width} x {height} does not fit an image of {size[1]} x {size[0]}: "
            "expected the same aspect"
        )
