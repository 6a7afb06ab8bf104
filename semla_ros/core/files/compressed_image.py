"""JPEG, PNG and WebP to RGB: `sensor_msgs/CompressedImage`, and files of images.

Nothing is decoded before its size is known to be within bounds, and every malformed input is a
`FrameError`.
"""

from __future__ import annotations

import cv2
import numpy as np

from semla_ros.core.errors import FrameError
from semla_ros.core.files.image_codec import (
    FULL_BITS,
    Buffer,
    Pixels,
    check_pixels,
    mosaic_to_rgb,
    to_uint8,
)
from semla_ros.core.files.image_headers import (
    JPEG_SIGNATURE,
    PNG_SIGNATURE,
    ImageHeader,
    is_webp,
    jpeg_header,
    png_header,
    webp_header,
)
from semla_ros.core.files.lfs_pointer import lfs_remedy
from semla_ros.core.types import UInt8Array

_VIDEO = ("h264", "h.264", "avc", "h265", "h.265", "hevc", "av1", "vp8", "vp9", "mpeg")
_START_CODES = (b"\x00\x00\x00\x01", b"\x00\x00\x01")


def decode_compressed(
    data: Buffer, format: str, *, max_pixels: int, significant_bits: int = FULL_BITS
) -> UInt8Array:
    """Return (H, W, 3) uint8 RGB of a JPEG, PNG or WebP, the kind told by the bytes themselves.

    Pixels stay as they are stored, as image_transport and the camera's calibration have them; a
    file's orientation is a matter of `decode_file`. A JPEG whose middle was damaged but whose end
    marker is there cannot be told from a good one; a PNG carries checksums and can.

    Args:
        data: The file's bytes; what comes after the picture's end is left out.
        format: `CompressedImage.format`, such as "jpeg" or "rgb8; jpeg compressed bgr8"; decides
            the order of colours ("compressed rgb8": red and blue were stored exchanged), and
            "bayer_rggb8; png compressed" that one channel is a mosaic.
        max_pixels: Larger images are refused by the file's header, before decoding.
        significant_bits: See `decode_raw`.

    Raises:
        FrameError: Another kind, damaged, truncated or too large.
    """
    content = bytes(memoryview(data).cast("B"))
    if "compressedDepth" in format:
        raise FrameError(f"expected a camera image, got depth of format {format!r}: other topic?")
    header = _header(content, format)
    return _decode(content, header, format, max_pixels, significant_bits)


def decode_file(
    data: bytes, name: str, *, max_pixels: int, significant_bits: int = FULL_BITS
) -> UInt8Array:
    """Return (H, W, 3) uint8 RGB of an image file, turned as its EXIF orientation says.

    People and detectron2 see it so; labels are drawn on the turned picture.

    Args:
        data: The file's bytes.
        name: What an error calls it.
        max_pixels: Larger images are refused.
        significant_bits: See `decode_raw`.

    Raises:
        FrameError: See `decode_compressed`.
    """
    header = _header(data, name)
    return upright(_decode(data, header, "", max_pixels, significant_bits), header.orientation)


def upright(image: UInt8Array, orientation: int) -> UInt8Array:
    """Return an image (H, W, C) turned and mirrored as EXIF's orientation 1 to 8 asks for.

    Source: EXIF 2.32, tag 0x0112; the same as Pillow's `ImageOps.exif_transpose`.
    """
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _header(data: bytes, format: str) -> ImageHeader:
    if data[:2] == JPEG_SIGNATURE:
        return jpeg_header(data)
    if data[:8] == PNG_SIGNATURE:
        return png_header(data)
    if is_webp(data):
        return webp_header(data)
    if remedy := lfs_remedy(data):
        raise FrameError(remedy)
    if data.startswith(_START_CODES) or any(v in format.lower() for v in _VIDEO):
        raise FrameError(
            f"expected single pictures (JPEG, PNG or WebP), got video of format {format!r} "
            f"beginning {data[:8].hex(' ')!r}: decode it to images first, as image_transport's "
            "republish does with ffmpeg_image_transport"
        )
    raise FrameError(
        f"expected a JPEG, PNG or WebP, got {len(data)} bytes beginning "
        f"{data[:8].hex(' ')!r} of format {format!r}"
    )


def _decode(
    data: bytes, header: ImageHeader, format: str, max_pixels: int, bits: int
) -> UInt8Array:
    check_pixels(header.height, header.width, max_pixels)
    return to_uint8(_rgb(decode_checked(data, header), format), bits)


def decode_checked(data: bytes, header: ImageHeader) -> Pixels:
    """Return the pixels in `data` as OpenCV has them: the only place it is given a file.

    Args:
        data: The file.
        header: Of this file, its size already held against the bounds.

    Raises:
        FrameError: It is damaged, or of another size than its header says.
    """
    part = np.frombuffer(data, np.uint8, count=header.end)
    try:
        image = cv2.imdecode(part, cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        reason = " ".join(str(error).split())
        raise FrameError(f"damaged image of {len(data)} bytes: {reason}") from error
    if image is None or image.shape[:2] != (header.height, header.width):
        got = "nothing" if image is None else f"{image.shape[1]} x {image.shape[0]}"
        raise FrameError(
            f"damaged image of {len(data)} bytes: expected {header.width} x {header.height} "
            f"pixels, decoded {got}"
        )
    return image


def _rgb(image: Pixels, format: str) -> Pixels:
    if image.ndim == 2:
        return mosaic_to_rgb(image, format.split(";")[0].strip())
    if image.shape[2] == 4:
        image = image[..., :3]
    stored_rgb = "compressed rgb" in format
    return np.ascontiguousarray(image if stored_rgb else image[..., ::-1])
