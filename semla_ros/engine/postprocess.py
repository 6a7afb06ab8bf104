"""From logits to labels and confidence, and back to the camera's size."""

from __future__ import annotations

from typing import NamedTuple, cast

import cv2
import numpy as np

from semla_ros.errors import EngineError
from semla_ros.types import Float32Array, LabelArray, UInt8Array

MAX_UINT8_CLASSES = 254


class Labels(NamedTuple):
    """Class ids and their confidence, same (H, W)."""

    labels: LabelArray
    confidence: UInt8Array


def labels_from_logits(logits: Float32Array, size: int) -> Labels:
    """Return labels and confidence (size, size) of `logits` (T, h, w).

    Each class map is resized bilinearly (half-pixel centres) and compared with the best so far,
    so that no (T, size, size) array is made; the first of equal logits wins, as in argmax. Ids
    grow from map to map, so the label is the largest id that was better when its turn came.
    Labels are uint8 up to 254 classes, else uint16; confidence is round(255 * sigmoid(max)).

    Raises:
        EngineError: A logit is not finite.
    """
    shape = (size, size)
    best = _resized(logits[0], size).copy()
    labels = np.zeros(shape, np.uint8 if len(logits) <= MAX_UINT8_CLASSES else np.uint16)
    better = np.empty(shape, np.bool_)
    chosen = np.empty_like(labels)
    for class_id, plane in enumerate(logits[1:], start=1):
        candidate = _resized(plane, size)
        np.greater(candidate, best, out=better)
        np.multiply(better, labels.dtype.type(class_id), out=chosen)
        np.maximum(labels, chosen, out=labels)
        np.maximum(candidate, best, out=best)
    if not np.isfinite(best).all():
        raise EngineError("the network's output is not finite: the frame has no usable mask")
    return Labels(labels, _confidence(best))


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


def _resized(plane: Float32Array, size: int) -> Float32Array:
    if plane.shape == (size, size):
        return plane
    return cast(Float32Array, cv2.resize(plane, (size, size), interpolation=cv2.INTER_LINEAR))


def _confidence(best: Float32Array) -> UInt8Array:
    """Overwrite `best` with 255 * sigmoid(best) and return it rounded to uint8."""
    np.clip(best, -30.0, 30.0, out=best)
    np.negative(best, out=best)
    np.exp(best, out=best)
    best += 1.0
    np.divide(255.0, best, out=best)
    np.rint(best, out=best)
    return best.astype(np.uint8)
