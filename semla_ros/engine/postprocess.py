"""From logits to labels and confidence, and back to the camera's size."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias, cast

import cv2
import numpy as np

from semla_ros.errors import EngineError
from semla_ros.types import Float32Array, LabelArray, UInt8Array

MAX_UINT8_CLASSES = 254

_Bool: TypeAlias = np.dtype[np.bool_]

_LARGEST_LOGIT = 80.0
"""Beyond this a sigmoid is 0 or 1 in float32, and exp would overflow."""

_ROUNDING = 1e-5
"""More than the rounding errors of bilinear interpolation between scores in 0..1."""

_STRIP_PIXELS = 1 << 17
"""Pixels of a strip: half a megabyte of float32, what a core's own cache holds."""

_LANES = 64
"""Strips begin at multiples of this, where vector instructions of any width begin anew."""


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
        self._best: Float32Array = np.empty(self._size[0] * self._size[1], np.float32)
        self._found: LabelArray = np.empty(self._best.size, np.uint8)
        self._scratch: _Scratch | None = None
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
        if self._found.dtype != labels.dtype:
            self._found = np.empty(labels.size, labels.dtype)
            self._scratch = None
        confidence: UInt8Array = np.empty(self._size, np.uint8)
        spans = _spans((scores.shape[1], scores.shape[2]), self._size)
        strips = [self._strip(span) for span in spans]
        pixels = max(strip.best.size for strip in strips)
        if self._scratch is None or self._scratch.pixels < pixels:
            self._scratch = _Scratch(pixels, labels)
        present = _present(_contenders(scores), spans, self._size[1])
        for class_id in np.flatnonzero(present.any(axis=1)).tolist():
            plane = scores[class_id]
            if len(spans) > 1:
                plane = resized(plane, (plane.shape[0], self._size[1]))
            for i in np.flatnonzero(present[class_id]).tolist():
                part = plane[:, spans[i]] if len(spans) > 1 else plane
                self._scratch.compare(part, class_id, strips[i])
        for span, strip in zip(spans, strips, strict=True):
            labels[:, span] = strip.labels
            np.multiply(strip.best, 255.0, out=strip.best)
            np.rint(strip.best, out=strip.best)
            confidence[:, span] = strip.best
        return Labels(labels, confidence)

    def _strip(self, span: slice) -> _Strip:
        """Return the columns `span`, contiguous, nothing found in them yet."""
        height = self._size[0]
        flat, shape = slice(height * span.start, height * span.stop), (height, -1)
        strip = _Strip(self._best[flat].reshape(shape), self._found[flat].reshape(shape))
        strip.best.fill(-1.0)
        strip.labels.fill(0)
        return strip


class _Strip(NamedTuple):
    """Some columns of an image: the highest score so far (H, n), and whose it is."""

    best: Float32Array
    labels: LabelArray


class _Scratch:
    """What comparing one strip needs, in memory that stays in the caches."""

    def __init__(self, pixels: int, labels: LabelArray) -> None:
        self.pixels = pixels
        self._candidate: Float32Array = np.empty(pixels, np.float32)
        self._better = np.empty(pixels, np.bool_)
        self._chosen: LabelArray = np.empty_like(labels, shape=pixels)

    def compare(self, plane: Float32Array, class_id: int, strip: _Strip) -> None:
        """Give `strip` the class where `plane`, enlarged, is above the best so far.

        Ids grow from class to class, so the label is the largest id that was better in its turn.
        """
        shape, size = strip.best.shape, strip.best.size
        candidate = self._candidate[:size].reshape(shape)
        candidate = resized(plane, (shape[0], shape[1]), out=candidate)
        better, chosen = self._better[:size].reshape(shape), self._chosen[:size].reshape(shape)
        np.greater(candidate, strip.best, out=better)
        np.multiply(better, chosen.dtype.type(class_id), out=chosen)
        np.maximum(strip.labels, chosen, out=strip.labels)
        np.maximum(candidate, strip.best, out=strip.best)


def _spans(plane: tuple[int, int], size: tuple[int, int]) -> list[slice]:
    """Return columns of an image (H, W) that are worked on together, so few that caches hold them.

    OpenCV resizes columns, then rows, so a strip of resized columns gets the bits it has in the
    whole, if enlarged by its general code: not for a single column, nor when halved.
    """
    height, width = size
    step = max(_LANES, _STRIP_PIXELS // height // _LANES * _LANES)
    count = max(1, width // step)
    if min(plane) == 1 or height < plane[0] or width < plane[1]:
        count = 1
    starts = [step * i for i in range(count)]
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], width], strict=True)]


def _contenders(scores: Float32Array) -> np.ndarray[tuple[int, int], _Bool]:
    """Return (T, w): whether a class may be the best somewhere between two columns of `scores`.

    What lies between four pixels is at most the highest and at least the lowest of them. So a
    class whose highest is below another's lowest cannot win there, and need not be enlarged.
    """
    low = high = scores
    for axis in (1, 2):
        count = scores.shape[axis]
        following = np.minimum(np.arange(1, count + 1), count - 1)
        low = np.minimum(low, low.take(following, axis))
        high = np.maximum(high, high.take(following, axis))
    bar = low.max(axis=0) - np.float32(_ROUNDING)
    columns: np.ndarray[tuple[int, int], _Bool] = (high >= bar).any(axis=1)
    return columns


def _present(
    contenders: np.ndarray[tuple[int, int], _Bool], spans: list[slice], width: int
) -> np.ndarray[tuple[int, int], _Bool]:
    """Return (T, S): whether a class contends in a strip of an image `width` wide."""
    columns = contenders.shape[1]
    ends = np.array([(span.start, span.stop - 1) for span in spans])
    cells = np.floor((ends + 0.5) * columns / width - 0.5).astype(int).clip(0, columns - 1)
    return np.stack([contenders[:, a : b + 1].any(axis=1) for a, b in cells], axis=1)


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

    Each class map is resized bilinearly (half-pixel centres) and compared with the best so far,
    strip by strip and only where it can win, so that no (T, H, W) array is made and caches hold
    a strip; the first of equal scores wins, as in argmax. Labels are uint8 up to 254 classes,
    else uint16; confidence is round(255 * highest score).
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
