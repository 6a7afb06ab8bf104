"""From logits to labels and confidence, and back to the camera's size."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias, cast

import cv2
import numpy as np

from semla_ros.bundle import SIGMOID, SOFTMAX
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

    def __init__(self, size: int | tuple[int, int], *, activation: str = SIGMOID) -> None:
        """Make labels at `size`, a side or (H, W), of logits of this `activation`."""
        self._size = (size, size) if isinstance(size, int) else size
        self._activation = activation
        self._best: Float32Array = np.empty((0, 0), np.float32)
        self._candidate: Float32Array = np.empty((0, 0), np.float32)
        self._better = np.empty((0, 0), np.bool_)
        self._chosen: LabelArray = np.empty((0, 0), np.uint8)
        self._scores: Float32Array = np.empty((0, 0, 0), np.float32)
        self._finite = np.empty((0, 0, 0), np.bool_)
        self._powers: Float32Array = np.empty((0, 0, 0), np.float32)

    def from_logits(self, logits: Float32Array) -> Labels:
        """Return labels and confidence of `logits` (T, h, w), see `labels_from_logits`."""
        if self._scores.shape != logits.shape:
            self._scores = np.empty(logits.shape, np.float32)
            self._finite = np.empty(logits.shape, np.bool_)
            softmax = self._activation == SOFTMAX
            self._powers = np.empty((softmax * (len(logits) + 1), *logits.shape[1:]), np.float32)
        _require_finite(logits, self._finite)
        if self._activation == SIGMOID:
            return self.from_scores(_sigmoid(logits, out=self._scores))
        if self._activation == SOFTMAX:
            labels, best = self._largest(_log_softmax(logits, self._scores, self._powers))
            np.exp(best, out=best)
        else:
            labels, best = self._largest(logits)
        return Labels(labels, _confidence(np.clip(best, 0.0, 1.0, out=best)))

    def from_scores(self, scores: Float32Array) -> Labels:
        """Return labels and confidence of `scores` (T, h, w), see `labels_from_scores`."""
        labels = _zero_labels(self._size, len(scores))
        if strips_pay(scores.shape, self._size):
            confidence: UInt8Array = np.empty(self._size, np.uint8)
            label_in_strips(scores, labels, confidence)
            return Labels(labels, confidence)
        labels, best = self._largest(scores)
        return Labels(labels, _confidence(best))

    def _largest(self, scores: Float32Array) -> tuple[LabelArray, Float32Array]:
        """Return which of the enlarged `scores` is largest, and how large; memory stays."""
        labels = _zero_labels(self._size, len(scores))
        self._make_room(labels)
        best, better, chosen = self._best, self._better, self._chosen
        np.copyto(best, resized(scores[0], self._size, out=self._candidate))
        for class_id, plane in enumerate(scores[1:], start=1):
            candidate = resized(plane, self._size, out=self._candidate)
            np.greater(candidate, best, out=better)
            np.multiply(better, labels.dtype.type(class_id), out=chosen)
            np.maximum(labels, chosen, out=labels)
            np.maximum(candidate, best, out=best)
        return labels, best

    def _make_room(self, labels: LabelArray) -> None:
        if self._best.shape != self._size:
            self._best = np.empty(self._size, np.float32)
            self._candidate = np.empty(self._size, np.float32)
            self._better = np.empty(self._size, np.bool_)
        if self._chosen.shape != self._size or self._chosen.dtype != labels.dtype:
            self._chosen = np.empty_like(labels)


def _confidence(probabilities: Float32Array) -> UInt8Array:
    """Return round(255 p); `probabilities` in 0..1 are used up."""
    probabilities *= 255.0
    return np.rint(probabilities, out=probabilities).astype(np.uint8)


def _zero_labels(size: tuple[int, int], classes: int) -> LabelArray:
    if classes <= MAX_UINT8_CLASSES:
        return np.zeros(size, np.uint8)
    return np.zeros(size, np.uint16)


def labels_from_logits(
    logits: Float32Array, size: int | tuple[int, int], *, activation: str = SIGMOID
) -> Labels:
    """Return labels and confidence of `logits` (T, h, w) at `size`, a side or (H, W).

    `softmax`: the enlarged logits are compared. What is enlarged are logarithms of probabilities,
    which differ from logits by the same map in all classes, so the winner is the same; the
    confidence, exp of the winner's, is at most the probability that enlarged logits would give.
    `scores` are sums of probabilities: they are enlarged as they are, the confidence ends at 1.

    Raises:
        EngineError: A logit is not finite.

    Source: CAT-Seg's order: sigmoid, then bilinear to size, then argmax. transformers'
    post_process_semantic_segmentation for the others: bilinear to size, then argmax.
    """
    return LabelBuffers(size, activation=activation).from_logits(logits)


def scores_from_logits(logits: Float32Array) -> Float32Array:
    """Return sigmoid(`logits`), a new array.

    Raises:
        EngineError: A logit is not finite.
    """
    _require_finite(logits, np.empty(logits.shape, np.bool_))
    return _sigmoid(logits, out=np.empty(logits.shape, np.float32))


def _require_finite(logits: Float32Array, finite: np.ndarray[tuple[int, ...], _Bool]) -> None:
    if not np.isfinite(logits, out=finite).all():
        raise EngineError("the network's output is not finite: the frame has no usable mask")


def _log_softmax(logits: Float32Array, out: Float32Array, powers: Float32Array) -> Float32Array:
    """Return the logarithm of the softmax of `logits` (T, h, w) in `out`.

    Args:
        logits: Finite.
        out: (T, h, w).
        powers: (T + 1, h, w), to calculate in.
    """
    row, powers = powers[-1], powers[:-1]
    np.max(logits, axis=0, out=row)
    np.subtract(logits, row, out=out)
    np.exp(out, out=powers)
    np.sum(powers, axis=0, out=row)
    np.log(row, out=row)
    np.subtract(out, row, out=out)
    return out


def _sigmoid(logits: Float32Array, *, out: Float32Array) -> Float32Array:
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
