"""Labels of large images, strip by strip and only where a class can win.

Beyond a megapixel, enlarging every class map is nearly all that a frame costs, and most of it is
enlarged in vain. The answer is that of the whole image, bit for bit.
"""

from __future__ import annotations

from typing import TypeAlias

import cv2
import numpy as np

from semla_ros.core.types import Float32Array, LabelArray, UInt8Array

Bools: TypeAlias = np.ndarray[tuple[int, int], np.dtype[np.bool_]]

_LARGE_IMAGE, _LARGE_STACK = 900_000, 16_000_000
"""Pixels of an image, and of all its class maps, from which strips are quicker than the whole."""

_ROUNDING = 1e-5
"""More than the rounding errors of bilinear interpolation between scores in 0..1."""

_STRIP_PIXELS = 1 << 17
"""Pixels of a strip: half a megabyte of float32, what a core's own cache holds."""

_LANES = 64
"""Strips begin at multiples of this, where vector instructions of any width begin anew."""


def strips_pay(planes: tuple[int, ...], size: tuple[int, int]) -> bool:
    """Return whether `label_in_strips` is exact and quicker.

    OpenCV resizes columns, then rows, so a strip of resized columns gets the bits it has in the
    whole, if enlarged by its general code: not for a single column, nor when halved.

    Args:
        planes: (T, h, w) of the class maps.
        size: (H, W) of the image.
    """
    (classes, h, w), (height, width) = planes, size
    pixels = height * width
    large = pixels >= _LARGE_IMAGE and classes * pixels >= _LARGE_STACK
    return large and min(h, w) > 1 and height >= h and width >= w


def label_in_strips(scores: Float32Array, labels: LabelArray, confidence: UInt8Array) -> None:
    """Fill labels and confidence (H, W) from `scores` (T, h, w) in 0..1, where `strips_pay`."""
    height, width = labels.shape
    spans = _spans(height, width)
    best = [np.full((height, span.stop - span.start), -1.0, np.float32) for span in spans]
    found = [np.zeros(each.shape, labels.dtype) for each in best]
    present = _present(_contenders(scores), spans, width)
    for class_id in np.flatnonzero(present.any(axis=1)).tolist():
        rows = cv2.resize(scores[class_id], (width, scores.shape[1]))
        for i in np.flatnonzero(present[class_id]).tolist():
            shape = (best[i].shape[1], height)
            candidate = cv2.resize(np.ascontiguousarray(rows[:, spans[i]]), shape)
            better = candidate > best[i]
            np.maximum(found[i], better * labels.dtype.type(class_id), out=found[i])
            np.maximum(candidate, best[i], out=best[i])
    for span, ids, high in zip(spans, found, best, strict=True):
        labels[:, span] = ids
        confidence[:, span] = np.rint(high * np.float32(255.0))


def _spans(height: int, width: int) -> list[slice]:
    """Return columns that are worked on together, so few that caches hold them."""
    step = max(_LANES, _STRIP_PIXELS // height // _LANES * _LANES)
    starts = [step * i for i in range(max(1, width // step))]
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], width], strict=True)]


def _contenders(scores: Float32Array) -> Bools:
    """Return (T, w): whether a class may be the best somewhere between two columns of `scores`.

    What lies between four pixels is at most the highest and at least the lowest of them. So a
    class whose highest is below another's lowest cannot win there, and need not be enlarged.
    """
    square, first = np.ones((2, 2), np.uint8), (0, 0)
    bar = np.full(scores.shape[1:], -1.0, np.float32)
    for plane in scores:
        np.maximum(bar, cv2.erode(plane, square, anchor=first), out=bar)
    bar -= np.float32(_ROUNDING)
    high = (cv2.dilate(plane, square, anchor=first) for plane in scores)
    return np.stack([(plane >= bar).any(axis=0) for plane in high])


def _present(contenders: Bools, spans: list[slice], width: int) -> Bools:
    """Return (T, S): whether a class contends in a strip of an image `width` wide."""
    columns = contenders.shape[1]
    ends = np.array([(span.start, span.stop - 1) for span in spans])
    cells = np.floor((ends + 0.5) * columns / width - 0.5).astype(int).clip(0, columns - 1)
    return np.stack([contenders[:, a : b + 1].any(axis=1) for a, b in cells], axis=1)
