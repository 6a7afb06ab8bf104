"""What image files say about themselves: size, end, orientation; read before anything is decoded.

The walks see a file as its decoder does, so that none finds another picture than was checked.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

from semla_ros.core.errors import FrameError

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8"
_MARKER = re.compile(rb"\xff+[^\x00\xff]", re.DOTALL)
_MARKER_IN_SCAN = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]", re.DOTALL)
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BETWEEN_SCANS = frozenset({0xC4, 0xDA, 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xFE})
_SOI, _EOI, _SOS, _APP1 = 0xD8, 0xD9, 0xDA, 0xE1
_MAX_SCANS = 100
"""Each scan of a progressive JPEG costs a pass over all pixels, however few bytes it has."""
_PNG_CHANNELS = frozenset({0, 2, 3, 4, 6})
_ANIMATION = frozenset({b"acTL", b"fcTL", b"fdAT"})
_MAX_CHUNKS = 100_000
_FREE_BYTES = 1 << 16
_WEBP_SIZES = frozenset({b"VP8 ", b"VP8L", b"VP8X"})
_EXIF = b"Exif\x00\x00"
_ORIENTATION = 0x0112
_MAX_ENTRIES = 1000


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """Size in pixels, where the picture ends in the file, and its EXIF orientation (1 to 8)."""

    height: int
    width: int
    end: int
    orientation: int = 1


def jpeg_header(data: bytes) -> ImageHeader:
    """Return the header of a JPEG; what lies behind its end marker is not part of it.

    Markers are found as libjpeg finds them: whatever lies between two segments is passed over,
    and so are FF 00 and fill bytes.

    Raises:
        FrameError: No frame header, or no end marker: it was cut.
        Source: ITU-T T.81, annex B; libjpeg's `next_marker`.
    """
    at, size, orientation = 2, None, 1
    scans = 0
    while found := (_MARKER_IN_SCAN if scans else _MARKER).search(data, at):
        marker, at = data[found.end() - 1], found.end()
        if marker == _EOI:
            if size is None or not scans:
                break
            return ImageHeader(*size, at, orientation)
        if marker in _STANDALONE:
            continue
        if marker == _SOI or (scans and marker not in _BETWEEN_SCANS):
            break
        length = int.from_bytes(data[at : at + 2], "big")
        if length < 2:
            break
        body = data[at + 2 : at + min(length, 65535)]
        if marker in _FRAMES and size is None:
            size = _frame_size(body)
        elif marker == _APP1 and body.startswith(_EXIF):
            orientation = exif_orientation(body[len(_EXIF) :])
        at += length
        scans += marker == _SOS
        if scans > _MAX_SCANS:
            raise FrameError(f"expected a JPEG of at most {_MAX_SCANS} scans, got more: refused")
    if size is None:
        raise FrameError(f"damaged JPEG: no frame header in {len(data)} bytes")
    raise FrameError(f"truncated JPEG: {len(data)} bytes without the end marker FF D9")


def _frame_size(body: bytes) -> tuple[int, int]:
    if len(body) < 6:
        raise FrameError("damaged JPEG: its frame header is cut")
    height, width = struct.unpack(">HH", body[1:5])
    if height < 1 or width < 1 or body[5] not in (1, 3):
        raise FrameError(
            f"expected a JPEG with pixels of 1 or 3 channels, got {width} x {height} of {body[5]}"
        )
    return height, width


def png_header(data: bytes) -> ImageHeader:
    """Return the header of a PNG, every checksum of which fits.

    Raises:
        FrameError: It is damaged or was cut.
    """
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise FrameError(f"damaged PNG: no header in {len(data)} bytes")
    width, height = struct.unpack(">II", data[16:24])
    if height < 1 or width < 1 or data[25] not in _PNG_CHANNELS:
        raise FrameError(f"damaged PNG: {width} x {height} of colour type {data[25]}")
    at, orientation, packed = len(PNG_SIGNATURE), 1, 0
    most = 2 * height * (8 * width + 1) + _FREE_BYTES
    view = memoryview(data)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            break
        if zlib.crc32(view[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise FrameError(f"damaged PNG: the checksum at byte {at} does not fit")
        kind = data[at + 4 : at + 8]
        if kind in _ANIMATION or (kind == b"IHDR" and at > len(PNG_SIGNATURE)):
            raise FrameError("expected a PNG of one picture, got several or an animation (APNG)")
        packed += length if kind == b"IDAT" else 0
        if packed > most:
            raise FrameError(f"expected at most {most} packed bytes of {width} x {height} pixels")
        if kind == b"eXIf":
            orientation = exif_orientation(data[at + 8 : end])
        if kind == b"IEND":
            return ImageHeader(height, width, end + 4, orientation)
        at = end + 4
    raise FrameError(f"truncated PNG: {len(data)} bytes without an end chunk")


def is_webp(data: bytes) -> bool:
    """Return whether `data` begins as a WebP."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def webp_header(data: bytes) -> ImageHeader:
    """Return the header of a WebP of one picture.

    Raises:
        FrameError: It is damaged, was cut, is an animation, or holds a picture of another size
            than it says.
        Source: RFC 9649, sections 2.5 to 2.7.
    """
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data) or end < 30:
        raise FrameError(f"truncated WebP: expected {end} bytes, got {len(data)}")
    sizes: dict[bytes, tuple[int, int]] = {}
    orientation, at = 1, 12
    for _ in range(_MAX_CHUNKS):
        if at + 8 > end:
            break
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : min(at + 8 + length, end)]
        if kind in (b"ANIM", b"ANMF") or kind in sizes:
            raise FrameError("expected a WebP of one picture, got several or an animation")
        if kind in _WEBP_SIZES:
            sizes[kind] = _webp_size(kind, body)
        elif kind == b"EXIF":
            orientation = exif_orientation(body.removeprefix(_EXIF))
        at += 8 + length + length % 2
    pictures = [size for kind, size in sizes.items() if kind != b"VP8X"]
    if len(pictures) != 1 or len(set(sizes.values())) != 1:
        raise FrameError(f"damaged WebP: expected one picture of one size, got {sizes}")
    return ImageHeader(*pictures[0], end, orientation)


def _webp_size(kind: bytes, body: bytes) -> tuple[int, int]:
    """Return height and width as a chunk has them."""
    if len(body) < 10:
        raise FrameError(f"damaged WebP: a chunk {kind!r} of {len(body)} bytes")
    if kind == b"VP8 ":
        width, height = (n & 0x3FFF for n in struct.unpack("<HH", body[6:10]))
    elif kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width = int.from_bytes(body[4:7], "little") + 1
        height = int.from_bytes(body[7:10], "little") + 1
    if height < 1 or width < 1:
        raise FrameError(f"damaged WebP: {width} x {height}")
    return height, width


def exif_orientation(tiff: bytes) -> int:
    """Return the orientation in the first directory of EXIF data, 1 (upright) where there is none.

    Source: EXIF 2.32, section 4.6; TIFF 6.0.
    """
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return 1
    (at,) = struct.unpack_from(f"{order}I", tiff, 4)
    if at + 2 > len(tiff):
        return 1
    (count,) = struct.unpack_from(f"{order}H", tiff, at)
    for entry in range(at + 2, at + 2 + 12 * min(count, _MAX_ENTRIES), 12):
        if entry + 12 > len(tiff):
            break
        tag, kind, number, value = struct.unpack_from(f"{order}HHIH", tiff, entry)
        if tag == _ORIENTATION:
            return value if kind == 3 and number == 1 and 1 <= value <= 8 else 1
    return 1
