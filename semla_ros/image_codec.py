"""Camera images from bytes to RGB: what `sensor_msgs/Image` and `CompressedImage` carry.

ROS-free. Nothing is decoded before its size is known to be within bounds, and every malformed
input is a `FrameError`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from semla_ros.errors import FrameError
from semla_ros.types import UInt8Array

Pixels = npt.NDArray[Any]
Buffer = Any
"""Anything with the buffer protocol: bytes, bytearray, memoryview, array.array, uint8 array."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


@dataclass(frozen=True, slots=True)
class _Encoding:
    """How one raw encoding lies in memory, and how it becomes RGB of the same depth."""

    channels: int
    itemsize: int
    to_rgb: Callable[[Pixels], Pixels]
    even_width: bool = False


def _by_code(code: int) -> Callable[[Pixels], Pixels]:
    return lambda pixels: cv2.cvtColor(pixels, code)


def _encodings() -> dict[str, _Encoding]:
    gray = _by_code(cv2.COLOR_GRAY2RGB)
    table = {
        "mono8": _Encoding(1, 1, gray),
        "8UC1": _Encoding(1, 1, gray),
        "mono16": _Encoding(1, 2, gray),
        "16UC1": _Encoding(1, 2, gray),
        "8UC3": _Encoding(3, 1, _by_code(cv2.COLOR_BGR2RGB)),
        "8UC4": _Encoding(4, 1, _by_code(cv2.COLOR_BGRA2RGB)),
    }
    for name, code in (
        ("yuv422", cv2.COLOR_YUV2RGB_UYVY),
        ("uyvy", cv2.COLOR_YUV2RGB_UYVY),
        ("yuv422_yuy2", cv2.COLOR_YUV2RGB_YUY2),
        ("yuyv", cv2.COLOR_YUV2RGB_YUY2),
    ):
        table[name] = _Encoding(2, 1, _by_code(code), even_width=True)
    for depth, itemsize in (("8", 1), ("16", 2)):
        table[f"rgb{depth}"] = _Encoding(3, itemsize, np.asarray)
        table[f"bgr{depth}"] = _Encoding(3, itemsize, _by_code(cv2.COLOR_BGR2RGB))
        table[f"rgba{depth}"] = _Encoding(4, itemsize, _by_code(cv2.COLOR_RGBA2RGB))
        table[f"bgra{depth}"] = _Encoding(4, itemsize, _by_code(cv2.COLOR_BGRA2RGB))
        # ROS names the first two pixels of the first two rows, OpenCV those from (1, 1) on.
        for pattern, code in (
            ("rggb", cv2.COLOR_BayerBG2RGB),
            ("bggr", cv2.COLOR_BayerRG2RGB),
            ("gbrg", cv2.COLOR_BayerGR2RGB),
            ("grbg", cv2.COLOR_BayerGB2RGB),
        ):
            table[f"bayer_{pattern}{depth}"] = _Encoding(1, itemsize, _by_code(code))
    return table


_ENCODINGS: Mapping[str, _Encoding] = _encodings()
RAW_ENCODINGS: tuple[str, ...] = tuple(sorted(_ENCODINGS))


def decode_raw(
    data: Buffer,
    *,
    height: int,
    width: int,
    encoding: str,
    step: int,
    is_bigendian: bool,
    max_pixels: int,
) -> UInt8Array:
    """Return (H, W, 3) uint8 RGB of a raw image; rgb8 without padding is a view of `data`.

    16-bit values are scaled by 255 / 65535 and rounded, as cv_bridge does.

    Args:
        data: Exactly `step * height` bytes.
        height: Rows, >= 1.
        width: Columns, >= 1.
        encoding: One of `RAW_ENCODINGS`.
        step: Bytes from row to row, padding included.
        is_bigendian: Byte order of 16-bit values.
        max_pixels: Larger images are refused.

    Raises:
        FrameError: The image contradicts itself, is too large or of an unknown encoding.
    """
    check_raw(
        len(memoryview(data).cast("B")),
        height=height,
        width=width,
        encoding=encoding,
        step=step,
        max_pixels=max_pixels,
    )
    kind = _ENCODINGS[encoding]
    row = width * kind.channels * kind.itemsize
    packed = np.frombuffer(data, np.uint8).reshape(height, step)[:, :row]
    if kind.itemsize == 2:
        packed = np.ascontiguousarray(packed).view(">u2" if is_bigendian else "<u2")
        packed = packed.astype(np.uint16, copy=False)
    shape = (height, width) if kind.channels == 1 else (height, width, kind.channels)
    pixels = np.ascontiguousarray(packed).reshape(shape)
    return _to_uint8(kind.to_rgb(pixels))


def decode_image(message: Any, *, max_pixels: int) -> UInt8Array:  # noqa: ANN401
    """Return `decode_raw` of a message with the fields of `sensor_msgs/Image`, whoever made it.

    Raises:
        FrameError: See `decode_raw`.
    """
    return decode_raw(
        message.data,
        height=int(message.height),
        width=int(message.width),
        encoding=str(message.encoding),
        step=int(message.step),
        is_bigendian=bool(message.is_bigendian),
        max_pixels=max_pixels,
    )


def check_raw(
    size: int, *, height: int, width: int, encoding: str, step: int, max_pixels: int
) -> None:
    """Refuse a raw image of `size` bytes whose fields contradict each other or the bounds.

    Raises:
        FrameError: What was expected, what came.
    """
    kind = _ENCODINGS.get(encoding)
    if kind is None:
        raise FrameError(
            f"expected an encoding of {', '.join(RAW_ENCODINGS)}, got {encoding!r}: "
            "convert the stream or choose another topic"
        )
    if height < 1 or width < 1 or (kind.even_width and width % 2):
        parity = " and an even width" if kind.even_width else ""
        raise FrameError(f"expected at least one pixel{parity}, got {width} x {height}")
    _check_pixels(height, width, max_pixels)
    row = width * kind.channels * kind.itemsize
    if step < row:
        raise FrameError(
            f"expected a step of at least {row} bytes for {width} pixels of {encoding}, "
            f"got {step}: the driver fills `step` wrongly"
        )
    if size != step * height:
        raise FrameError(
            f"expected step x height = {step} x {height} = {step * height} bytes, got {size}: "
            "truncated, or the driver fills `step` wrongly"
        )


def decode_compressed(data: Buffer, format: str, *, max_pixels: int) -> UInt8Array:
    """Return (H, W, 3) uint8 RGB of a JPEG or PNG, the kind told by the bytes themselves.

    A JPEG whose middle was damaged but whose end marker is there cannot be told from a good one;
    a PNG carries checksums and can.

    Args:
        data: The file's bytes.
        format: `CompressedImage.format`, such as "jpeg" or "rgb8; jpeg compressed bgr8"; decides
            the order of colours ("compressed rgb8": red and blue were stored exchanged).
        max_pixels: Larger images are refused by the file's header, before decoding.

    Raises:
        FrameError: Not a JPEG or PNG, damaged, truncated or too large.
    """
    view = memoryview(data).cast("B")
    if "compressedDepth" in format:
        raise FrameError(f"expected a camera image, got depth of format {format!r}: other topic?")
    if bytes(view[:2]) == b"\xff\xd8":
        height, width = _jpeg_size(view)
    elif bytes(view[:8]) == _PNG_SIGNATURE:
        height, width = _png_size(view)
    else:
        raise FrameError(
            f"expected a JPEG or PNG, got {len(view)} bytes beginning "
            f"{bytes(view[:8]).hex(' ')!r} of format {format!r}"
        )
    _check_pixels(height, width, max_pixels)
    if view[0] == 0x89:
        _check_png_chunks(view)
    return _decode(view, (height, width), stored_rgb="compressed rgb" in format)


def _decode(view: memoryview, size: tuple[int, int], *, stored_rgb: bool) -> UInt8Array:
    try:
        image = cv2.imdecode(np.frombuffer(view, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise FrameError(f"damaged image of {len(view)} bytes: {error}") from error
    if image is None or image.shape[:2] != size:
        got = "nothing" if image is None else f"{image.shape[1]} x {image.shape[0]}"
        raise FrameError(
            f"damaged image of {len(view)} bytes: expected {size[1]} x {size[0]} pixels, "
            f"decoded {got}"
        )
    if image.ndim == 2:
        return _to_uint8(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB))
    if image.shape[2] == 4:
        image = image[..., :3]
    return _to_uint8(np.ascontiguousarray(image if stored_rgb else image[..., ::-1]))


def _to_uint8(rgb: Pixels) -> UInt8Array:
    if rgb.dtype == np.uint8:
        return rgb
    if rgb.dtype != np.uint16:
        raise FrameError(f"expected 8 or 16 bits per channel, got {rgb.dtype}")
    return ((rgb.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _check_pixels(height: int, width: int, max_pixels: int) -> None:
    if height * width > max_pixels:
        raise FrameError(
            f"expected at most {max_pixels} pixels, got {width} x {height} = {height * width}: "
            "raise the parameter 'max_pixels' if this camera is meant"
        )


def _jpeg_size(view: memoryview) -> tuple[int, int]:
    """Return (height, width) of the frame header, having checked the end of the file."""
    end = len(view)
    while end > 2 and view[end - 1] == 0:  # some cameras pad with zeros
        end -= 1
    if bytes(view[end - 2 : end]) != b"\xff\xd9":
        raise FrameError(f"truncated JPEG: {len(view)} bytes without the end marker FF D9")
    at = 2
    while at + 4 <= end:
        if view[at] != 0xFF:
            break
        marker = view[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in _JPEG_STANDALONE:
            at += 2
        elif marker in _JPEG_FRAMES and at + 10 <= end:
            height = int.from_bytes(view[at + 5 : at + 7], "big")
            width = int.from_bytes(view[at + 7 : at + 9], "big")
            if height < 1 or width < 1 or view[at + 9] not in (1, 3):
                raise FrameError(
                    f"expected a JPEG with pixels of 1 or 3 channels, got {width} x {height} "
                    f"of {view[at + 9]}"
                )
            return height, width
        else:
            at += 2 + int.from_bytes(view[at + 2 : at + 4], "big")
    raise FrameError(f"damaged JPEG: no frame header in {len(view)} bytes")


def _png_size(view: memoryview) -> tuple[int, int]:
    """Return (height, width) of the PNG header."""
    if len(view) < 33 or bytes(view[12:16]) != b"IHDR":
        raise FrameError(f"damaged PNG: no header in {len(view)} bytes")
    width = int.from_bytes(view[16:20], "big")
    height = int.from_bytes(view[20:24], "big")
    if height < 1 or width < 1 or view[25] not in _PNG_CHANNELS:
        raise FrameError(f"damaged PNG: {width} x {height} of colour type {view[25]}")
    return height, width


def _check_png_chunks(view: memoryview) -> None:
    at = 8
    while at + 12 <= len(view):
        length = int.from_bytes(view[at : at + 4], "big")
        end = at + 8 + length
        if end + 4 > len(view):
            break
        if zlib.crc32(view[at + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise FrameError(f"damaged PNG: the checksum at byte {at} does not fit")
        if bytes(view[at + 4 : at + 8]) == b"IEND":
            return
        at = end + 4
    raise FrameError(f"truncated PNG: {len(view)} bytes without an end chunk")
