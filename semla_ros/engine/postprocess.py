"""From logits to labels and confidence, and back to the camera's size."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias, cast

import cv2
import numpy as np

from semla_ros.core.errors import EngineError
from semla_ros.core.types import Float32Array, LabelArray, UInt8Array
from semla_ros.engine.strips import label_in_strips, strips_pay

MAX_UINT8_CLASSES = 254

_Bool: TypeAlias = np.dtype[np.bool_]

_LARGEST_LOGIT = 80.0
"""Beyond this a sigmoid is 0 or 1 in float32, and exp would overflow."""


class Labels(NamedTuple):
    """Class ids and their confidence, same (H, W)."""

    labels: LabelArray
    confidence: UInt8Array


class LabelBuffers:
    """Turns logits into labels without allocating but what it returns.

    Fresh memory of this size costs more than the arithmetic: the system clears it page by page.
    One thread at a time; the answers are the caller's and never written to again.
    """

    def __init__(self, size: int | tuple[int, int]) -> None:
        """Make labels at `size`, a side or (H, W)."""
        self._size = (size, size) if isinstance(size, int) else size
        self._best: Float32Array = np.empty((0, 0), np.float32)
        self._candidate: Float32Array = np.empty((0, 0), np.float32)
        self._better = np.empty((0, 0), np.bool_)
        self._chosen: LabelArray = np.empty((0, 0), np.uint8)
        self._scores: Float32Array = np.empty((0, 0, 0), np.float32)
        self._finite = np.empty((0, 0, 0), np.bool_)

    def from_logits(self, logits: Float32Array) -> Labels:
        """Return labels and confidence of `logits` (T, h, w), see `labels_from_logits`."""
        if self._scores.shape != logits.shape:
            self._scores = np.empty(logits.shape, np.float32)
            self._finite = np.empty(logits.shape, np.bool_)
        return self.from_scores(_sigmoid(logits, out=self._scores, finite=self._finite))

    def from_scores(self, scores: Float32Array) -> Labels:
        """Return labels and confidence of `scores` (T, h, w), see `labels_from_scores`."""
        labels = _zero_labels(self._size, len(scores))
        if strips_pay(scores.shape, self._size):
            confidence: UInt8Array = np.empty(self._size, np.uint8)
            label_in_strips(scores, labels, confidence)
            return Labels(labels, confidence)
        self._make_room(labels)
        best, better, chosen = self._best, self._better, self._chosen
        np.copyto(best, resized(scores[0], self._size, out=self._candidate))
        for class_id, plane in enumerate(scores[1:], start=1):
            candidate = resized(plane, self._size, out=self._candidate)
            np.greater(candidate, best, out=better)
            np.multiply(better, labels.dtype.type(class_id), out=chosen)
            np.maximum(labels, chosen, out=labels)
            np.maximum(candidate, best, out=best)
        best *= 255.0
        np.rint(best, out=best)
        return Labels(labels, best.astype(np.uint8))

    def _make_room(self, labels: LabelArray) -> None:
        if self._best.shape != self._size:
            self._best = np.empty(self._size, np.float32)
            self._candidate = np.empty(self._size, np.float32)
            self._better = np.empty(self._size, np.bool_)
        if self._chosen.shape != self._size or self._chosen.dtype != labels.dtype:
            self._chosen = np.empty_like(labels)


def _zero_labels(size: tuple[int, int], classes: int) -> LabelArray:
    if classes <= MAX_UINT8_CLASSES:
        return np.zeros(size, np.uint8)
    return np.zeros(size, np.uint16)


def labels_from_logits(logits: Float32Array, size: int | tuple[int, int]) -> Labels:
    """Return labels and confidence of `logits` (T, h, w) at `size`, a side or (H, W).

    Raises:
        EngineError: A logit is not finite.

    Source: CAT-Seg's order: sigmoid, then bilinear to size, then argmax.
    """
    return LabelBuffers(size).from_logits(logits)


def scores_from_logits(logits: Float32Array) -> Float32Array:
    """Return sigmoid(`logits`), a new array.

    Raises:
        EngineError: A logit is not finite.
    """
    return _sigmoid(
        logits, out=np.empty(logits.shape, np.float32), finite=np.empty(logits.shape, np.bool_)
    )


def _sigmoid(
    logits: Float32Array, *, out: Float32Array, finite: np.ndarray[tuple[int, ...], _Bool]
) -> Float32Array:
    if not np.isfinite(logits, out=finite).all():
        raise EngineError("the network's output is not finite: the frame has no usable mask")
    np.clip(logits, -_LARGEST_LOGIT, _LARGEST_LOGIT, out=out)
    np.negative(out, out=out)
    np.exp(out, out=out)
    np.add(out, 1.0, out=out)
    np.reciprocal(out, out=out)
    return out


def labels_from_scores(scores: Float32Array, size: int | tuple[int, int]) -> Labels:
    """Return labels and confidence of `scores` (T, h, w) in 0..1 at `size`, a side or (H, W).

    Each class map is resized bilinearly (half-pixel centres) and compared with the best so far, so
    that no (T, H, W) array is made; large images strip by strip (`strips`). The first of equal
    scores wins, as in argmax. Labels are uint8 up to 254 classes, else uint16; confidence is
    round(255 * highest score).
    """
    return LabelBuffers(size).from_scores(scores)


def resized(
    plane: Float32Array, size: tuple[int, int], *, out: Float32Array | None = None
) -> Float32Array:
    """Return `plane` (h, w) or (h, w, C) at `size` (H, W): bilinear, half-pixel centres.

    A plane that has the size is returned as it is; else the result is in `out`, where given.
    """
    if plane.shape[:2] == size:
        return plane
    large = cv2.resize(plane, size[::-1], dst=out, interpolation=cv2.INTER_LINEAR)
    return cast(Float32Array, large)


def restore(labels: LabelArray, size: tuple[int, int]) -> LabelArray:
    """Return `labels` at `size` (H, W): nearest pixel, so no id appears that was not there."""
    if labels.shape == size:
        return labels
    resized = cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return cast(LabelArray, resized)


def restore_confidence(confidence: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """Return `confidence` at `size` (H, W), bilinear."""
    if confidence.shape == size:
        return confidence
    return cast(UInt8Array, cv2.resize(confidence, size[::-1], interpolation=cv2.INTER_LINEAR))
