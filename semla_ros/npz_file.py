"""Arrays to and from `.npz` files; of those read nothing is run, nothing unchecked allocated."""

from __future__ import annotations

import io
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}

_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DAMAGE = (
    *(EOFError, RuntimeError, NotImplementedError, zlib.error, struct.error),  # of zip files
    *(tokenize.TokenError, SyntaxError, TypeError, LookupError, OverflowError),  # of npy headers
)


def npz_content(arrays: Mapping[str, npt.NDArray[np.generic]]) -> bytes:
    """Return the content of an uncompressed `.npz` file; equal arrays give equal bytes."""
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **arrays)
    return stream.getvalue()


def read_arrays(
    path: Path | io.BytesIO, keys: Collection[str] | None = None, *, max_bytes: int
) -> dict[str, npt.NDArray[np.generic]]:
    """Return those of the arrays `keys` that the file holds; others are not looked at.

    Args:
        path: An `.npz`, compressed or not, or its content.
        keys: Names of arrays, None for all.
        max_bytes: What they may take in memory together.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is damaged, too large, or wants to run code.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            chosen = members if keys is None else keys
            wanted = {key: members[key] for key in chosen if key in members}
            odd = [k for k, info in wanted.items() if info.compress_type not in _COMPRESSIONS]
            if odd:  # numpy writes no other; bzip2 and lzma have errors and bombs of their own
                raise ValueError(
                    f"expected {odd[0]!r} stored or deflated, got another compression"
                )
            total = sum(info.file_size for info in wanted.values())
            if total > max_bytes:
                raise ValueError(f"expected at most {max_bytes} bytes, got {total}")
            return {key: _array(archive.read(info)) for key, info in wanted.items()}
    except zipfile.BadZipFile as error:
        raise ValueError(f"not an npz file ({error})") from error
    except _DAMAGE as error:
        raise ValueError(f"damaged ({' '.join(str(error).split())})") from error


def _array(data: bytes) -> npt.NDArray[np.generic]:
    """Return the array in `data`; the size is checked before numpy is told to allocate it."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"expected npy version 1 or 2, got {version!r}")
    shape, fortran, dtype = _HEADERS[version](stream)
    if dtype.hasobject:
        raise ValueError("expected plain numbers, got pickled objects")
    body = data[stream.tell() :]
    if any(n < 0 for n in shape) or math.prod(shape) * dtype.itemsize != len(body):
        raise ValueError(f"expected an array {shape} of {dtype}, got {len(body)} bytes")
    flat = np.frombuffer(body, dtype=dtype)
    return flat.reshape(shape, order="F" if fortran else "C")
