"""Arrays to the bytes of PNG files."""

from __future__ import annotations

import cv2
import numpy as np

from semla_ros.core.errors import FrameError
from semla_ros.core.types import LabelArray, UInt8Array


def png_content(pixels: UInt8Array | LabelArray) -> bytes:
    """Return a PNG of an RGB image (H, W, 3) uint8 or of ids (H, W) uint8 or uint16.

    Raises:
        FrameError: A PNG cannot hold it.
    """
    stored = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    try:
        done, content = cv2.imencode(".png", np.ascontiguousarray(stored))
    except cv2.error as error:
        raise FrameError(f"no PNG can hold {pixels.shape} of {pixels.dtype}: {error}") from error
    if not done:
        raise FrameError(f"no PNG can hold {pixels.shape} of {pixels.dtype}")
    return bytes(content)
