"""Image files with EXIF, made byte by byte."""

import struct
import zlib

import cv2
import numpy as np


def smooth(height=48, width=64):
    """A picture that JPEG hardly changes, no side or corner like another."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([4 * x, 5 * y, 2 * (x + y)], axis=-1).clip(0, 255).astype(np.uint8)


def encoded(rgb, kind, *parameters):
    bgr = rgb if rgb.ndim == 2 else np.ascontiguousarray(rgb[..., ::-1])
    return cv2.imencode(kind, bgr, parameters)[1].tobytes()


def exif(orientation, order="<"):
    """EXIF data of one entry, the orientation."""
    head = b"II*\x00" if order == "<" else b"MM\x00*"
    entry = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)
    return head + struct.pack(f"{order}IH", 8, 1) + entry + bytes(4)


def turned_jpeg(rgb, orientation, order="<"):
    data = encoded(rgb, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 98)
    body = b"Exif\x00\x00" + exif(orientation, order)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]


def turned_png(rgb, orientation):
    data, body = encoded(rgb, ".png"), b"eXIf" + exif(orientation, ">")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return data[:33] + chunk + data[33:]


def turned_webp(rgb, orientation):
    """The simple format put into the extended one, which may carry EXIF."""
    image = encoded(rgb, ".webp", cv2.IMWRITE_WEBP_QUALITY, 101)[12:]
    height, width = rgb.shape[:2]
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    head = b"VP8X" + struct.pack("<I", 10) + b"\x08\x00\x00\x00" + size
    body = exif(orientation)
    tail = b"EXIF" + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
    content = b"WEBP" + head + image + tail
    return b"RIFF" + struct.pack("<I", len(content)) + content
