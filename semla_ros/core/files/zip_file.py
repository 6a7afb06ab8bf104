"""What is looked at of a zip of unknown origin before zipfile reads its directory whole."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from typing import BinaryIO

ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    LookupError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
)
"""What zipfile raises on damaged bytes, beside ValueError."""
_END, _LOCATOR, _END64 = b"PK\x05\x06", b"PK\x06\x07", b"PK\x06\x06"
_END_BYTES, _LOCATOR_BYTES, _END64_BYTES, _MAX_COMMENT = 22, 20, 56, 65535


def check_directory(stream: BinaryIO, *, max_bytes: int) -> None:
    """Refuse what is no zip, or lists so much that the list alone fills the memory.

    Raises:
        BadZipFile: There is no directory: no zip, or cut.
        ValueError: The directory is larger than `max_bytes`.
    """
    size = stream.seek(0, os.SEEK_END)
    start = max(0, size - _END_BYTES - _LOCATOR_BYTES - _END64_BYTES - _MAX_COMMENT)
    stream.seek(start)
    tail = stream.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_BYTES:
        raise zipfile.BadZipFile(f"{size} bytes without a directory")
    listed = int.from_bytes(tail[at + 12 : at + 16], "little")
    locator = at - _LOCATOR_BYTES
    if locator >= 0 and tail.startswith(_LOCATOR, locator):
        listed = _listed64(tail, locator, start)
    if listed > max_bytes:
        raise ValueError(f"expected a directory of at most {max_bytes} bytes, got more")


def _listed64(tail: bytes, locator: int, start: int) -> int:
    """Return how long the directory is of which the large form of the record says it.

    It must lie right before its locator and where that says: zipfile's versions differ in which
    of the two they believe.
    """
    at = locator - _END64_BYTES
    said = int.from_bytes(tail[locator + 8 : locator + 16], "little")
    if at < 0 or not tail.startswith(_END64, at) or said != start + at:
        raise zipfile.BadZipFile("a directory that is not where the zip says")
    return int.from_bytes(tail[at + 40 : at + 48], "little")
