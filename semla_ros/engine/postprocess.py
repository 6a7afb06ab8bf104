"""From logits to labels and confidence, and back to the camera's size."""

from __future__ import annotations

from typing import NamedTuple, cast

import cv2
import numpy as np

from semla_ros.errors import EngineError
from semla_ros.types import Float32Array, LabelArray, UInt8Array

MAX_UINT8_CLASSES = 254

_LARGEST_LOGIT = 80.0
"""Beyond this a sigmoid is 0 or 1 in float32, and exp would overflow."""


class Labels(NamedTuple):
    """Class ids and their confidence, same (H, W)."""

    labels: LabelArray
    confidence: UInt8Array


def labels_from_logits(logits: Float32Array, size: int | tuple[int, int]) -> Labels:
    """Return labels and confidence of `logits` (T, h, w) at `size`, a side or (H, W).

    Raises:
        EngineError: A logit is not finite.

    Source: CAT-Seg's order: sigmoid, then bilinear to size, then argmax.
    """
    return labels_from_scores(scores_from_logits(logits), size)


def scores_from_logits(logits: Float32Array) -> Float32Array:
    """Return sigmoid(`logits`), a new array.

    Raises:
        EngineError: A logit is not finite.
    """
    if not np.isfinite(logits).all():
        raise EngineError("the network's output is not finite: the frame has no usable mask")
    scores: Float32Array = np.clip(logits, -_LARGEST_LOGIT, _LARGEST_LOGIT)
    np.negative(scores, out=scores)
    np.exp(scores, out=scores)
    scores += 1.0
    np.reciprocal(scores, out=scores)
    return scores


def labels_from_scores(scores: Float32Array, size: int | tuple[int, int]) -> Labels:
    """Return labels and confidence of `scores` (T, h, w) in 0..1 at `size`, a side or (H, W).

    Each class map is resized bilinearly (half-pixel centres) and compared with the best so far,
    so that no (T, H, W) array is made; the first of equal scores wins, as in argmax. Ids grow
    from map to map, so the label is the largest id that was better when its turn came. Labels
    are uint8 up to 254 classes, else uint16; confidence is round(255 * highest score).
    """
    shape = (size, size) if isinstance(size, int) else size
    best = resized(scores[0], shape).copy()
    labels = np.zeros(shape, np.uint8 if len(scores) <= MAX_UINT8_CLASSES else np.uint16)
    better = np.empty(shape, np.bool_)
    chosen = np.empty_like(labels)
    for class_id, plane in enumerate(scores[1:], start=1):
        candidate = resized(plane, shape)
        np.greater(candidate, best, out=better)
        np.multiply(better, labels.dtype.type(class_id), out=chosen)
        np.maximum(labels, chosen, out=labels)
        np.maximum(candidate, best, out=best)
    best *= 255.0
    np.rint(best, out=best)
    return Labels(labels, best.astype(np.uint8))


def resized(plane: Float32Array, size: tuple[int, int]) -> Float32Array:
    """Return `plane` (h, w) or (h, w, C) at `size` (H, W): bilinear, half-pixel centres."""
    if plane.shape[:2] == size:
        return plane
    return cast(Float32Array, cv2.resize(plane, size[::-1], interpolation=cv2.INTER_LINEAR))


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
