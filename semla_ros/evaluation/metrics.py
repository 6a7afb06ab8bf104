"""Segmentation numbers as pure functions of one confusion matrix, and means over domains.

mIoU comes from one matrix over a whole data set, never from a mean of per-image values.
Source: detectron2's SemSegEvaluator and cityscapesScripts (classes without ground truth do not
count); SemLA (CVPR 2025) for the harmonic mean over domains.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from semla_ros.errors import EvaluationError
from semla_ros.types import Float64Array, LabelArray

Int64Array = npt.NDArray[np.int64]
DEFAULT_IGNORE = 255


def confusion_counts(
    truth: LabelArray, predicted: LabelArray, *, classes: int, ignore: int = DEFAULT_IGNORE
) -> Int64Array:
    """Return how often true class i was predicted as j: (classes, classes + 1) int64.

    The last column counts predictions outside the class list (unlabelled pixels): they are misses
    of their true class. Pixels whose truth is `ignore` do not count.

    Args:
        truth: (H, W) class ids.
        predicted: (H, W) class ids of the same shape.
        classes: Number of classes, >= 1.
        ignore: Truth value that is not scored.

    Raises:
        EvaluationError: Shapes differ, labels are no integers, or truth holds an id that is
            neither a class nor `ignore`.
    """
    _check_labels(truth, predicted, classes)
    scored = truth != ignore
    true = truth[scored].astype(np.int64)
    chosen = predicted[scored].astype(np.int64)
    if true.size and (true.max() >= classes or true.min() < 0):
        outside = sorted({int(v) for v in np.unique(true) if not 0 <= v < classes})
        raise EvaluationError(
            f"expected true labels in 0..{classes - 1} or {ignore} (ignored), got {outside!r}: "
            "map them to the class list first"
        )
    chosen[(chosen >= classes) | (chosen < 0)] = classes
    flat = np.bincount(true * (classes + 1) + chosen, minlength=classes * (classes + 1))
    return flat.reshape(classes, classes + 1).astype(np.int64)


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


class ConfusionMatrix:
    """Counts over any number of images; adding is exact (int64) and order does not matter.

    Example: `matrix = ConfusionMatrix(9); matrix.update(truth, predicted); matrix.mean_iou`.
    """

    def __init__(self, classes: int, *, ignore: int = DEFAULT_IGNORE) -> None:
        """Start with no pixel counted.

        Raises:
            EvaluationError: No class.
        """
        if classes < 1:
            raise EvaluationError(f"expected at least one class, got {classes!r}")
        self.ignore = ignore
        self.counts: Int64Array = np.zeros((classes, classes + 1), dtype=np.int64)

    def update(self, truth: LabelArray, predicted: LabelArray) -> None:
        """Add one image, see `confusion_counts`."""
        self.counts += confusion_counts(
            truth, predicted, classes=len(self.counts), ignore=self.ignore
        )

    def merge(self, other: ConfusionMatrix) -> None:
        """Add all that `other` has counted.

        Raises:
            EvaluationError: It counts another number of classes.
        """
        if other.counts.shape != self.counts.shape:
            raise EvaluationError(
                f"expected a matrix of {len(self.counts)} classes, got {len(other.counts)}"
            )
        self.counts += other.counts

    @property
    def pixels(self) -> int:
        """Number of scored pixels."""
        return int(self.counts.sum())

    @property
    def iou(self) -> Float64Array:
        """IoU of each class, see `class_iou`."""
        return class_iou(self.counts)

    @property
    def mean_iou(self) -> float:
        """Mean IoU over the classes with ground truth, see `mean_iou`."""
        return mean_iou(self.counts)


def class_iou(counts: Int64Array) -> Float64Array:
    """Return the IoU of each class in [0, 1], (classes,) float64; NaN without ground truth.

    Args:
        counts: As `confusion_counts` returns.
    """
    classes = len(counts)
    hits = np.diagonal(counts[:, :classes]).astype(np.float64)
    truth = counts.sum(axis=1)
    union = truth + counts[:, :classes].sum(axis=0) - hits
    iou = np.full(classes, np.nan)
    present = truth > 0
    iou[present] = hits[present] / union[present]
    return iou


def mean_iou(counts: Int64Array) -> float:
    """Return the mean IoU over the classes with ground truth, in [0, 1]; NaN if there is none."""
    iou = class_iou(counts)
    present = iou[~np.isnan(iou)]
    return float(present.mean()) if present.size else math.nan


def pixel_accuracy(counts: Int64Array) -> float:
    """Return the share of scored pixels that are right, in [0, 1]; NaN if none is scored."""
    total = int(counts.sum())
    return float(np.trace(counts[:, : len(counts)]) / total) if total else math.nan


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
