"""Recordings and messages that rosbag2 packed by zstd, without help of metadata.yaml."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from semla_ros.core.errors import BagError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PACKED = ".zstd"
_MAGIC = b"\x28\xb5\x2f\xfd"
_PIECE = 1 << 20
_MAX_RATIO = 200
_MAX_MESSAGE_BYTES = 1 << 28


def unpacked(file: Path, folder: Path, on_note: Callable[[str], None]) -> Path:
    """Return `file` unpacked into `folder`, as far as it goes.

    Raises:
        BagError: It is damaged from the start, grows beyond `_MAX_RATIO` times its size, or the
            disk is full.
    """
    target = folder / file.name.removesuffix(PACKED)
    limit = file.stat().st_size * _MAX_RATIO + _PIECE
    by_hand = f"unpack it by hand with `zstd -d {file}`"
    written = 0
    try:
        with zstd.open(file, "rb") as source, target.open("wb") as stream:
            while piece := source.read(_PIECE):
                written += stream.write(piece)
                if written > limit:
                    raise BagError(
                        f"{str(file)!r} unpacks to more than {_MAX_RATIO} times its size: if "
                        f"that is meant, {by_hand}"
                    )
    except (zstd.ZstdError, EOFError) as error:
        if not written:
            raise BagError(f"{str(file)!r} cannot be unpacked: {error}") from error
        on_note(f"recording {str(file)!r} is damaged ({error}): reading it as far as it goes")
    except OSError as error:
        raise BagError(
            f"{str(file)!r} cannot be unpacked to {str(folder)!r} ({error.strerror}): set TMPDIR "
            f"to a disk with room, or {by_hand}"
        ) from error
    return target


def unpacked_message(data: bytes) -> bytes:
    """Return a message that was packed by itself; others, and damaged ones, as they are.

    CDR begins with a zero byte and so is never taken for zstd.
    """
    if data[:4] != _MAGIC:
        return data
    decompressor = zstd.ZstdDecompressor()
    try:
        content = decompressor.decompress(data, max_length=_MAX_MESSAGE_BYTES)
    except zstd.ZstdError:
        return data
    return content if decompressor.eof else data
