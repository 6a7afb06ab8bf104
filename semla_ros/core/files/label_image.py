"""Label images from bytes, ids as they were stored: no palette, no colour order, no scaling."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from semla_ros.core.errors import FrameError
from semla_ros.core.files.compressed_image import decode_checked
from semla_ros.core.files.image_codec import check_pixels
from semla_ros.core.files.image_file import read_bytes
from semla_ros.core.files.image_headers import PNG_SIGNATURE, png_header
from semla_ros.core.files.lfs_pointer import lfs_remedy

RawLabels = npt.NDArray[Any]
"""(H, W) of an integer type: ids; or (H, W, 3) uint8: RGB colours."""

_GRAY, _PALETTE = 0, 3
_IHDR_END = 33


def read_labels(path: Path, *, max_pixels: int) -> RawLabels:
    """Return the label image in the PNG `path`.

    Raises:
        FrameError: Missing, not a PNG, damaged or too large; the file is named.
    """
    try:
        return decode_labels(read_bytes(path), max_pixels=max_pixels)
    except FrameError as error:
        raise FrameError(f"label image {str(path)!r}: {error}") from error


def decode_labels(data: bytes, *, max_pixels: int) -> RawLabels:
    """Return the ids (H, W) uint8 or uint16, or colours (H, W, 3) uint8 RGB, of a PNG.

    A palette PNG gives its indices: in label images they are the ids, the palette is for people.

    Raises:
        FrameError: Not a PNG, damaged, or larger than `max_pixels`.
    """
    if data[:8] != PNG_SIGNATURE:
        remedy = lfs_remedy(data) or "labels must be lossless"
        raise FrameError(
            f"expected a PNG, got {len(data)} bytes beginning {data[:8].hex(' ')!r}: {remedy}"
        )
    header = png_header(data)
    check_pixels(header.height, header.width, max_pixels)
    depth, kind = data[24], data[25]
    if kind == _PALETTE:
        data = _indices_as_gray(data[: header.end])
        header = png_header(data)
    image = decode_checked(data, header)
    if image.ndim == 2:
        # OpenCV stretches 1, 2 and 4 bits over 0 to 255; ids are what was stored.
        return np.asarray(image if depth >= 8 else image // np.uint8(255 // ((1 << depth) - 1)))
    if image.dtype != np.uint8:
        raise FrameError(f"expected colours of 8 bits, got {image.dtype}")
    return np.ascontiguousarray(image[..., 2::-1])


def _indices_as_gray(data: bytes) -> bytes:
    """Return a palette PNG declared as gray: the same pixels, now read as numbers."""
    header = bytearray(data[12:29])
    header[13] = _GRAY
    crc = struct.pack(">I", zlib.crc32(header))
    parts = [data[:12], bytes(header), crc]
    at = _IHDR_END
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        if data[at + 4 : at + 8] in (b"IDAT", b"IEND"):
            parts.append(data[at : at + 12 + length])
        at += 12 + length
    return b"".join(parts)
