"""Masks in colour, alone or over the camera image."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np

from semla_ros.core.errors import FrameError
from semla_ros.core.types import LabelArray, UInt8Array, Vocabulary

_UNLABELED_RGB = (0, 0, 0)
_BYTE = 256


def lut_of(vocabulary: Vocabulary) -> UInt8Array:
    """Return the look-up table (unlabeled id + 1, 3) uint8 RGB; ids without a class are black."""
    table = np.tile(np.asarray(_UNLABELED_RGB, np.uint8), (vocabulary.unlabeled_id + 1, 1))
    table[: len(vocabulary.names)] = vocabulary.colors
    return table


def colorize(labels: LabelArray, lut: UInt8Array) -> UInt8Array:
    """Return RGB (H, W, 3) uint8 of `labels` (H, W).

    Args:
        labels: Class ids, each below the length of `lut`.
        lut: From `lut_of`.
    """
    if labels.dtype == np.uint8 and len(lut) == _BYTE:  # OpenCV's table is several times faster
        table = lut.reshape(_BYTE, 1, 3)
        return cast(UInt8Array, cv2.applyColorMap(np.ascontiguousarray(labels), table))
    return np.take(lut, labels, axis=0)


def overlay(rgb: UInt8Array, labels: LabelArray, lut: UInt8Array, *, alpha: float) -> UInt8Array:
    """Return `rgb` with the class colours over it, (H, W, 3) uint8.

    Args:
        rgb: Camera image (H, W, 3).
        labels: Class ids (H, W) of the same size.
        lut: From `lut_of`.
        alpha: Opacity of the colours, 0 to 1.

    Raises:
        FrameError: Image and labels differ in size.
    """
    if rgb.shape[:2] != labels.shape:
        raise FrameError(f"expected labels of size {rgb.shape[:2]}, got {labels.shape}")
    colors = colorize(labels, lut)
    return cast(UInt8Array, cv2.addWeighted(rgb, 1.0 - alpha, colors, alpha, 0.0, dst=colors))
