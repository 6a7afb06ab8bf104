"""Antialiased bicubic resampling, as Pillow does it, in numpy.

CLIP's preprocessing resizes with Pillow; published centroids depend on it, and OpenCV has no
antialiased bicubic. Only the wanted window of the output is computed.
Source: Pillow's `Resample.c` (a = -0.5; across first, then down, rounded to 8 bit in between;
Pillow 13 sometimes turns the order, which moves single pixels by a grey level or two).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from semla_ros.core.types import Float32Array, Float64Array, UInt8Array

_A = -0.5
_SUPPORT = 2.0
_BLOCK = 16


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of a resized axis to compute.

    Attributes:
        size: Length of the whole axis after resizing.
        start: First sample wanted.
        count: Number of samples wanted.
    """

    size: int
    start: int
    count: int


@dataclass(frozen=True, slots=True)
class _Band:
    """Outputs `first` to `first + taps.shape[1]` from inputs `low` to `low + taps.shape[0]`."""

    first: int
    low: int
    taps: Float32Array


def resized_window(rgb: UInt8Array, *, rows: Window, columns: Window) -> UInt8Array:
    """Return the window of `rgb` resized to (rows.size, columns.size).

    Args:
        rgb: (H, W, 3) uint8.
        rows: The vertical axis.
        columns: The horizontal axis.

    Returns:
        (rows.count, columns.count, 3) uint8.
    """
    height, width = rgb.shape[:2]
    down = _bands(height, rows.size, start=rows.start, count=rows.count)
    across = _bands(width, columns.size, start=columns.start, count=columns.count)
    top, bottom = _extent(down)
    left, right = _extent(across)
    planes = np.ascontiguousarray(rgb[top:bottom, left:right].transpose(2, 0, 1), dtype=np.float32)
    flat = planes.reshape(-1, right - left)
    horizontal = np.empty((len(flat), columns.count), dtype=np.float32)
    for band in across:
        low = band.low - left
        stop = band.first + band.taps.shape[1]
        horizontal[:, band.first : stop] = flat[:, low : low + len(band.taps)] @ band.taps
    stacked = _rounded(horizontal).reshape(3, bottom - top, columns.count)
    vertical = np.empty((3, rows.count, columns.count), dtype=np.float32)
    for band in down:
        low = band.low - top
        stop = band.first + band.taps.shape[1]
        vertical[:, band.first : stop] = band.taps.T @ stacked[:, low : low + len(band.taps)]
    return np.ascontiguousarray(_rounded(vertical).transpose(1, 2, 0)).astype(np.uint8)


def _rounded(values: Float32Array) -> Float32Array:
    values += np.float32(0.5)
    np.floor(values, out=values)
    return np.clip(values, 0.0, 255.0, out=values)


def _extent(bands: tuple[_Band, ...]) -> tuple[int, int]:
    return min(b.low for b in bands), max(b.low + len(b.taps) for b in bands)


@lru_cache(maxsize=16)
def _bands(length: int, size: int, *, start: int, count: int) -> tuple[_Band, ...]:
    """Return the nonzero blocks of the (input, output) weight matrix of one axis."""
    scale = length / size
    stretch = max(scale, 1.0)
    reach = _SUPPORT * stretch
    bands = []
    for first in range(0, count, _BLOCK):
        stop = min(first + _BLOCK, count)
        centers = (np.arange(start + first, start + stop) + 0.5) * scale
        lows = np.maximum((centers - reach + 0.5).astype(np.int64), 0)
        highs = np.minimum((centers + reach + 0.5).astype(np.int64), length)
        low, high = int(lows.min()), int(highs.max())
        inputs = np.arange(low, high)[:, np.newaxis]
        taps = _cubic((inputs - centers + 0.5) / stretch)
        taps[(inputs < lows) | (inputs >= highs)] = 0.0
        taps /= taps.sum(axis=0)
        bands.append(_Band(first, low, taps.astype(np.float32)))
    return tuple(bands)


def _cubic(x: Float64Array) -> Float64Array:
    x = np.abs(x)
    near = ((_A + 2.0) * x - (_A + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * _A
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))
