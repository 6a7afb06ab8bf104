"""From a camera image to the navigator's input, exactly as its encoder was trained to see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import cast

import cv2
import numpy as np

from semla_ros.bundle import NavigatorSpec
from semla_ros.core.errors import BundleError
from semla_ros.core.types import Float32Array, UInt8Array
from semla_ros.navigator.bicubic import Window, resized_window

CENTER_CROP, EVAL_CROP, SQUASH = "center_crop", "eval_crop", "squash"


def center_crop(rgb: UInt8Array, spec: NavigatorSpec) -> Float32Array:
    """Return the centre of `rgb` with its shortest side at `spec.size`, (N, N, 3) in 0..255.

    A 16:9 frame loses 44 % of its width: the price of comparing with published centroids.
    Source: transformers' CLIPImageProcessor, which SemLA uses (long side and offset rounded down).
    """
    height, width = rgb.shape[:2]
    shortest = min(height, width)
    rows, columns = (_centred(n * spec.size // shortest, spec.size) for n in (height, width))
    return resized_window(rgb, rows=rows, columns=columns).astype(np.float32)


def eval_crop(rgb: UInt8Array, spec: NavigatorSpec) -> Float32Array:
    """Return the centre of `rgb` with its shortest side at 8/7 of `spec.size`, (N, N, 3), 0..255.

    256 px for an input of 224. Source: torchvision's preset for evaluating classifiers, which
    DINOv2 uses (long side rounded down, offset to the nearest even number where it is halved).
    """
    height, width = rgb.shape[:2]
    shortest, target = min(height, width), spec.size * 8 // 7
    rows, columns = (
        Window(long, round((long - spec.size) / 2), spec.size)
        for long in (n * target // shortest for n in (height, width))
    )
    return resized_window(rgb, rows=rows, columns=columns).astype(np.float32)


def letterbox(rgb: UInt8Array, spec: NavigatorSpec) -> Float32Array:
    """Return the whole of `rgb` in the middle of (N, N, 3) in 0..255, the rest at the mean.

    Centroids must be made the same way.
    """
    longest = max(rgb.shape[:2])
    height, width = (max(1, round(n * spec.size / longest)) for n in rgb.shape[:2])
    inner = resized_window(rgb, rows=Window(height, 0, height), columns=Window(width, 0, width))
    top, left = (spec.size - height) // 2, (spec.size - width) // 2
    canvas = np.empty((spec.size, spec.size, 3), dtype=np.float32)
    canvas[:] = np.asarray(spec.mean, dtype=np.float32) * np.float32(255.0)
    canvas[top : top + height, left : left + width] = inner
    return canvas


def squash(rgb: UInt8Array, spec: NavigatorSpec) -> Float32Array:
    """Return the whole of `rgb` at `spec.shape`, (H, W, 3) in 0..255, proportions not kept.

    Bilinear without antialiasing, in float: what the segmentation network sees.
    """
    size = spec.shape[::-1]
    image = cv2.resize(rgb.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    return cast(Float32Array, image)


Resize = Callable[[UInt8Array, NavigatorSpec], Float32Array]
RESIZES: Mapping[str, Resize] = MappingProxyType(
    {CENTER_CROP: center_crop, EVAL_CROP: eval_crop, "letterbox": letterbox, SQUASH: squash}
)


def resize_of(spec: NavigatorSpec) -> Resize:
    """Return the resize function that `spec` names.

    Raises:
        BundleError: An unknown name, or impossible numbers.
    """
    if spec.resize not in RESIZES:
        raise BundleError(
            f"navigator resize: expected one of {tuple(RESIZES)!r}, got {spec.resize!r}"
        )
    if spec.size < 1 or not all(s > 0 for s in spec.std):
        raise BundleError(
            f"navigator: expected a size of at least 1 and std above 0, got {spec.size!r} and "
            f"{spec.std!r}"
        )
    if spec.width not in (0, spec.size) and spec.resize != SQUASH:
        raise BundleError(
            f"navigator: expected a square input for resize {spec.resize!r}, got {spec.shape!r}: "
            "rebuild the bundle"
        )
    return RESIZES[spec.resize]


def preprocess(rgb: UInt8Array, spec: NavigatorSpec) -> Float32Array:
    """Return the encoder's input for `rgb`.

    Args:
        rgb: (H, W, 3) uint8, any size.
        spec: Size, resize mode, normalisation.

    Returns:
        (1, 3, H, W) float32, normalised.

    Raises:
        BundleError: `spec` is impossible.
    """
    image = resize_of(spec)(rgb, spec)
    scale = 1.0 / (255.0 * np.asarray(spec.std))
    shift = np.asarray(spec.mean) / np.asarray(spec.std)
    image *= scale.astype(np.float32)
    image -= shift.astype(np.float32)
    return np.ascontiguousarray(image.transpose(2, 0, 1))[np.newaxis]


def _centred(length: int, count: int) -> Window:
    return Window(length, (length - count) // 2, count)
