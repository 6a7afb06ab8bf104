"""Raw camera images from bytes to RGB: what `sensor_msgs/Image` carries.

ROS-free. Every malformed input is a `FrameError`; `compressed_image` reads the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from semla_ros.core.errors import FrameError
from semla_ros.core.types import UInt8Array

Pixels = npt.NDArray[Any]
Buffer = Any
"""Anything with the buffer protocol: bytes, bytearray, memoryview, array.array, uint8 array."""

FULL_BITS = 16
"""Bits of a 16-bit value that carry it, where nobody says otherwise."""


@dataclass(frozen=True, slots=True)
class _Encoding:
    """How one raw encoding lies in memory, and how it becomes RGB of the same depth.

    Attributes:
        channels: Values per pixel.
        itemsize: Bytes per value.
        to_rgb: From (H, W) or (H, W, channels) values; planar ones have `half_rows` H / 2 rows.
        even_width: Neighbours share their colour.
        half_rows: Rows for every two of the image: more than 2 where a plane of colours follows.
    """

    channels: int
    itemsize: int
    to_rgb: Callable[[Pixels], Pixels]
    even_width: bool = False
    half_rows: int = 2


def _by_code(code: int) -> Callable[[Pixels], Pixels]:
    return lambda pixels: cv2.cvtColor(pixels, code)


def _nv24_to_rgb(planes: Pixels) -> Pixels:
    """Return RGB of a plane of Y over one of U and V at full size.

    OpenCV knows such planes at half size only, so Y is doubled, and every second pixel taken.
    """
    height, width = planes.shape[0] // 3, planes.shape[1]
    y = planes[:height].repeat(2, axis=0).repeat(2, axis=1)
    colours = planes[height:].reshape(height, 2 * width)
    doubled = cv2.cvtColor(np.vstack([y, colours]), cv2.COLOR_YUV2RGB_NV12)
    return np.ascontiguousarray(doubled[::2, ::2])


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
    for name, code in (("nv12", cv2.COLOR_YUV2RGB_NV12), ("nv21", cv2.COLOR_YUV2RGB_NV21)):
        table[name] = _Encoding(1, 1, _by_code(code), even_width=True, half_rows=3)
    table["nv24"] = _Encoding(1, 1, _nv24_to_rgb, half_rows=6)
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
    significant_bits: int = FULL_BITS,
) -> UInt8Array:
    """Return (H, W, 3) uint8 RGB of a raw image; rgb8 without padding is a view of `data`.

    16-bit values are scaled by 255 / 65535 and rounded, as cv_bridge does.
    nv12, nv21 and nv24 have their plane of colours below the Y: `step` is that of Y, or counts
    the bytes of both for every row of the image.

    Args:
        data: Exactly `step * height` bytes.
        height: Rows, >= 1.
        width: Columns, >= 1.
        encoding: One of `RAW_ENCODINGS`.
        step: Bytes from row to row, padding included.
        is_bigendian: Byte order of 16-bit values.
        max_pixels: Larger images are refused.
        significant_bits: How many of the low bits of 16-bit values carry them, 8 to 16: 12 where
            a camera of 12 bits leaves them unshifted. What is beyond is white.

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
    rows = height * kind.half_rows // 2
    packed = np.frombuffer(data, np.uint8).reshape(rows, -1)[:, :row]
    if kind.itemsize == 2:
        packed = np.ascontiguousarray(packed).view(">u2" if is_bigendian else "<u2")
        packed = packed.astype(np.uint16, copy=False)
    shape = (rows, width) if kind.channels == 1 else (rows, width, kind.channels)
    pixels = np.ascontiguousarray(packed).reshape(shape)
    return to_uint8(kind.to_rgb(pixels), significant_bits)


def decode_image(
    message: Any,  # noqa: ANN401
    *,
    max_pixels: int,
    significant_bits: int = FULL_BITS,
) -> UInt8Array:
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
        significant_bits=significant_bits,
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
    check_pixels(height, width, max_pixels)
    row = width * kind.channels * kind.itemsize
    if step < row:
        raise FrameError(
            f"expected a step of at least {row} bytes for {width} pixels of {encoding}, "
            f"got {step}: the driver fills `step` wrongly"
        )
    if kind.half_rows > 2:
        _check_planes(size, kind, height=height, width=width, step=step)
    elif size != step * height:
        raise FrameError(
            f"expected step x height = {step} x {height} = {step * height} bytes, got {size}: "
            "truncated, or the driver fills `step` wrongly"
        )


def _check_planes(size: int, kind: _Encoding, *, height: int, width: int, step: int) -> None:
    """Refuse planes of another size than `step`, of Y or of all planes together, promises."""
    rows = height * kind.half_rows // 2
    odd = kind.half_rows % 2 and height % 2
    padded = kind.half_rows == 6 and size != width * rows  # rows of two widths, padded once
    if (
        odd
        or padded
        or size not in (step * rows, step * height)
        or size % rows
        or size < width * rows
    ):
        raise FrameError(
            f"expected planes of {width} x {height} pixels, both even, in step x rows = "
            f"{step} x {rows} = {step * rows} bytes, got {size}: truncated, or the driver fills "
            "`step` wrongly"
        )


def mosaic_to_rgb(pixels: Pixels, encoding: str) -> Pixels:
    """Return (H, W, 3) of one channel (H, W): colours where `encoding` is a mosaic, else gray."""
    kind = _ENCODINGS.get(encoding)
    if kind is None or not encoding.startswith("bayer_"):
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    return kind.to_rgb(pixels)


def to_uint8(rgb: Pixels, significant_bits: int = FULL_BITS) -> UInt8Array:
    """Return 8 bits of 8, or of 16 of which the `significant_bits` lowest count."""
    if rgb.dtype == np.uint8:
        return rgb
    if rgb.dtype != np.uint16:
        raise FrameError(f"expected 8 or 16 bits per channel, got {rgb.dtype}")
    if significant_bits == FULL_BITS:
        return ((rgb.astype(np.uint32) + 128) // 257).astype(np.uint8)
    full = (1 << significant_bits) - 1
    scaled = np.minimum(rgb, full).astype(np.uint32) * 255
    return ((scaled + full // 2) // full).astype(np.uint8)


def dark_note(rgb: UInt8Array, encoding: str, significant_bits: int) -> str:
    """Return what to say where a 16-bit image uses less than a sixteenth of its range, else "".

    So looks what a camera of 12 bits stores unshifted in 16.
    """
    deep = "16" in encoding.split(";")[0]
    if not deep or significant_bits != FULL_BITS or not 0 < int(rgb.max(initial=0)) <= 16:
        return ""
    return (
        f"images of {encoding!r} use less than a sixteenth of their range, so all is dark: if the "
        "camera has 12 bits, set the parameter significant_bits to 12"
    )


def check_pixels(height: int, width: int, max_pixels: int) -> None:
    """Refuse an image of more than `max_pixels`.

    Raises:
        FrameError: It is larger.
    """
    if height * width > max_pixels:
        raise FrameError(
            f"expected at most {max_pixels} pixels, got {width} x {height} = {height * width}: "
            "raise the parameter 'max_pixels' if this camera is meant"
        )
