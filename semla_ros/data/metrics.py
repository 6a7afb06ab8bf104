"""Segmentation numbers: counts of one mask, IoU of sums of counts, means over domains.

mIoU comes from one confusion matrix over a whole data set, never from a mean of per-image values.
Of the matrix only what IoU needs is kept: true positives, false positives and false negatives of
each class. Source: detectron2's SemSegEvaluator and cityscapesScripts (classes without ground
truth do not count); SemLA (CVPR 2025) for the harmonic mean over domains.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from semla_ros.core.errors import EvaluationError
from semla_ros.core.types import Float64Array, LabelArray
from semla_ros.engine.postprocess import MAX_UINT8_CLASSES

Int64Array = npt.NDArray[np.int64]
_EXACT_IN_FLOAT32 = 1 << 24
"""OpenCV counts in float32: beyond so many pixels it may miss some."""


def frame_counts(truth: LabelArray, predicted: LabelArray, *, classes: int) -> Int64Array:
    """Return true positives, false positives and false negatives of each class, (3, T) int64.

    Args:
        truth: (H, W) ids of 0..T; T is not scored.
        predicted: (H, W) ids; those of T and above are in no class: a miss of the true one.
        classes: T, >= 1.

    Raises:
        EvaluationError: Shapes differ, labels are no integers, or truth holds another id.
    """
    _check_labels(truth, predicted, classes)
    known = classes <= MAX_UINT8_CLASSES and int(predicted.max(initial=0)) <= classes
    small = truth.dtype == predicted.dtype == np.uint8 and truth.size <= _EXACT_IN_FLOAT32
    matrix = (_histogram if known and small else _bincount)(truth, predicted, classes)
    hits = np.diagonal(matrix)
    false = matrix[:, :classes].sum(axis=0) - hits
    missed = matrix.sum(axis=1) - hits
    return np.stack([hits, false, missed]).astype(np.int64)


def _check_labels(truth: LabelArray, predicted: LabelArray, classes: int) -> None:
    if classes < 1:
        raise EvaluationError(f"expected at least one class, got {classes!r}")
    if truth.shape != predicted.shape:
        raise EvaluationError(
            f"expected truth and prediction of one size, got {truth.shape} and {predicted.shape}"
        )
    kinds = (truth.dtype, predicted.dtype)
    if not all(np.issubdtype(kind, np.integer) for kind in kinds):
        raise EvaluationError(f"expected labels of an integer type, got {kinds!r}")
    if truth.size and not (int(truth.min()) >= 0 and int(truth.max()) <= classes):
        outside = sorted({int(v) for v in np.unique(truth) if not 0 <= v <= classes})
        raise EvaluationError(
            f"expected true labels in 0..{classes - 1} or {classes} (not scored), got "
            f"{outside!r}: map them to the class list first"
        )


def _histogram(truth: LabelArray, predicted: LabelArray, classes: int) -> Int64Array:
    """Return (T, T + 1) counts by OpenCV, which needs no copy of the images."""
    side = classes + 1
    joint = cv2.calcHist([truth, predicted], [0, 1], None, [side, side], [0, side, 0, side])
    return joint.astype(np.int64).reshape(side, side)[:classes]


def _bincount(truth: LabelArray, predicted: LabelArray, classes: int) -> Int64Array:
    """Return (T, T + 1) counts of images of any type and size."""
    side = classes + 1
    inside = (predicted >= 0) & (predicted < classes)
    pairs = truth.astype(np.int64) * side + np.where(inside, predicted, classes)
    counts = np.bincount(pairs.ravel(), minlength=side * side)
    return counts.reshape(side, side)[:classes]


def class_iou(counts: Int64Array) -> Float64Array:
    """Return the IoU of each class in [0, 1], (..., T) float64; NaN without ground truth.

    Args:
        counts: (..., 3, T): true positives, false positives, false negatives.
    """
    hits, false, missed = (counts[..., i, :].astype(np.float64) for i in range(3))
    union = hits + false + missed
    present = hits + missed > 0
    iou: Float64Array = np.where(present, hits / np.where(union > 0, union, 1.0), np.nan)
    return iou


def mean_iou(counts: Int64Array) -> Float64Array:
    """Return the mean IoU over classes with ground truth, (...,) float64; NaN if there is none.

    Args:
        counts: (..., 3, T), as `class_iou` takes them.
    """
    iou = class_iou(counts)
    present = ~np.isnan(iou)
    number = present.sum(axis=-1)
    total = np.where(present, iou, 0.0).sum(axis=-1)
    mean: Float64Array = np.where(number > 0, total / np.maximum(number, 1), np.nan)
    return mean


def harmonic_mean(values: Iterable[float]) -> float:
    """Return the harmonic mean of values >= 0; 0 as soon as one of them is 0.

    Raises:
        EvaluationError: No value, or one negative or not finite.
    """
    checked = _checked(values)
    if min(checked) == 0.0:
        return 0.0
    return len(checked) / math.fsum(1.0 / v for v in checked)


def arithmetic_mean(values: Iterable[float]) -> float:
    """Return the arithmetic mean of values >= 0.

    Raises:
        EvaluationError: No value, or one negative or not finite.
    """
    checked = _checked(values)
    return math.fsum(checked) / len(checked)


def _checked(values: Iterable[float]) -> list[float]:
    checked = [float(v) for v in values]
    if not checked or not all(math.isfinite(v) and v >= 0 for v in checked):
        raise EvaluationError(
            f"expected at least one value, each finite and >= 0, got {checked!r}: "
            "leave out domains that were not scored"
        )
    return checked


def percentiles(values: Iterable[float]) -> dict[str, float]:
    """Return `p50`, `p95`, `p99`, `mean` and `max` of durations; empty without values."""
    array: npt.NDArray[Any] = np.asarray(list(values), dtype=np.float64)
    if not array.size:
        return {}
    p50, p95, p99 = (float(v) for v in np.percentile(array, (50, 95, 99)))
    return {
        "p50": p50,
        "p95": p95,
        "p99": p99,
        "mean": float(array.mean()),
        "max": float(array.max()),
    }
