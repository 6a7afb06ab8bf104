"""Arrays to and from `.npz` files; of those read nothing is run, nothing unchecked allocated.

What a file says of its arrays is checked before any of their values is unpacked: a few hundred
kilobytes can unpack to half a gigabyte.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import IO

import numpy as np
import numpy.typing as npt

from semla_ros.core.files.lfs_pointer import lfs_remedy
from semla_ros.core.files.zip_file import ZIP_ERRORS, check_directory

Array = npt.NDArray[np.generic]

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_MAX_DIRECTORY_BYTES = 8_000_000
_PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_KINDS = "biufU"
_PIECE = 1 << 20
_FOREIGN = (*ZIP_ERRORS, TokenError, MemoryError, SyntaxError, TypeError)
"""What zipfile and numpy raise on damaged bytes, beside ValueError."""


@dataclass(frozen=True, slots=True)
class ArrayInfo:
    """What a file says of one of its arrays."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    @property
    def nbytes(self) -> int:
        """Bytes that its values take."""
        return math.prod(self.shape) * self.dtype.itemsize


def npz_content(arrays: Mapping[str, Array]) -> bytes:
    """Return the content of an uncompressed `.npz` file; equal arrays give equal bytes."""
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **arrays)
    return stream.getvalue()


def read_arrays(
    path: Path | io.BytesIO,
    keys: Collection[str] | None = None,
    *,
    max_bytes: int,
    check: Callable[[Mapping[str, ArrayInfo]], None] = lambda _: None,
) -> dict[str, Array]:
    """Return those of the arrays `keys` that the file holds; others are not looked at.

    Args:
        path: An `.npz`, compressed or not, or its content.
        keys: Names of arrays, None for all.
        max_bytes: What they may take in memory together.
        check: Gets what the file says of them before any value is read; raises what it wants.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is damaged, too large, or wants to run code.
    """
    try:
        with path.open("rb") if isinstance(path, Path) else path as stream:
            if remedy := lfs_remedy(stream.read(64)):
                raise ValueError(remedy)
            check_directory(stream, max_bytes=_MAX_DIRECTORY_BYTES)
            with zipfile.ZipFile(stream) as archive:
                members = _members(archive, keys)
                infos = {key: _info(archive, member) for key, member in members.items()}
                check(infos)
                total = sum(info.nbytes for info in infos.values())
                if total > max_bytes:
                    raise ValueError(f"expected at most {max_bytes} bytes, got {total}")
                return {key: _array(archive, member) for key, member in members.items()}
    except _FOREIGN as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"not a whole npz file ({reason})") from error


def _members(archive: zipfile.ZipFile, keys: Collection[str] | None) -> dict[str, zipfile.ZipInfo]:
    """Return the wanted members by the names of their arrays."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        key = info.filename.removesuffix(".npy")
        if keys is not None and key not in keys:
            continue
        if key in members:
            raise ValueError(f"the array {key!r} is there twice")
        if info.compress_type not in _PLAIN:
            raise ValueError(f"expected {key!r} stored or deflated, got another compression")
        members[key] = info
    return members


def _info(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> ArrayInfo:
    with archive.open(member) as stream:
        return _header(stream, member)[0]


def _header(stream: IO[bytes], member: zipfile.ZipInfo) -> tuple[ArrayInfo, bool]:
    """Return what a member's header says, and whether its values are in Fortran's order."""
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"expected npy version 1 or 2, got {version!r}")
    shape, fortran, dtype = _HEADERS[version](stream)
    if dtype.hasobject:
        raise ValueError("expected plain numbers, got pickled objects")
    info = ArrayInfo(tuple(shape), dtype)
    left = member.file_size - stream.tell()
    if dtype.kind not in _KINDS or dtype.itemsize < 1 or any(n < 0 for n in shape):
        raise ValueError(f"expected an array of numbers or text, got {shape} of {dtype}")
    if info.nbytes != left:
        raise ValueError(f"expected an array {shape} of {dtype}, got {left} bytes")
    return info, bool(fortran)


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    """Return a member's values; memory is used as they come."""
    with archive.open(member) as stream:
        info, fortran = _header(stream, member)
        flat = np.empty(math.prod(info.shape), info.dtype)
        raw = flat.view(np.uint8)
        at = 0
        while at < len(raw):
            piece = stream.read(min(_PIECE, len(raw) - at))
            if not piece:
                raise ValueError(f"{member.filename!r} was cut after {at} bytes")
            raw[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
            at += len(piece)
        stream.read(1)  # at its end the checksum is compared
    return flat.reshape(info.shape, order="F" if fortran else "C")
