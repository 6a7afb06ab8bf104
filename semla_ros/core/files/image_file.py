"""Image files from a disk to RGB."""

from __future__ import annotations

from pathlib import Path

from semla_ros.core.config import PARAMETERS
from semla_ros.core.errors import FrameError
from semla_ros.core.files.compressed_image import decode_file
from semla_ros.core.files.image_codec import FULL_BITS
from semla_ros.core.types import UInt8Array

DEFAULT_MAX_PIXELS = int(PARAMETERS["max_pixels"].default)
_MAX_FILE_BYTES = 1_000_000_000


def read_image(
    path: Path, *, max_pixels: int = DEFAULT_MAX_PIXELS, significant_bits: int = FULL_BITS
) -> UInt8Array:
    """Return the image in `path` as RGB (H, W, 3) uint8, turned as its EXIF orientation says.

    Args:
        path: The file.
        max_pixels: Larger images are refused.
        significant_bits: Of 16-bit images, see `image_codec.decode_raw`.

    Raises:
        FrameError: Missing, not a PNG, JPEG or WebP, damaged or too large; the file is named.
    """
    try:
        data = read_bytes(path)
        return decode_file(
            data, path.suffix, max_pixels=max_pixels, significant_bits=significant_bits
        )
    except FrameError as error:
        raise FrameError(f"image {str(path)!r}: {error}") from error


def read_bytes(path: Path) -> bytes:
    """Return the content of an image file.

    Raises:
        FrameError: It cannot be read, or is too large for any image.
    """
    try:
        size = path.stat().st_size
        if size > _MAX_FILE_BYTES:
            raise FrameError(f"expected at most {_MAX_FILE_BYTES} bytes, got {size}: refused")
        return path.read_bytes()
    except OSError as error:
        raise FrameError(f"cannot be read: {error.strerror}") from error
