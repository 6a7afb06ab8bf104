"""Reading an mcap file that was cut off, as if its writer had been allowed to finish.

A recorder that is killed, or a disk that runs full, leaves an mcap without footer and index,
which readers refuse. `MendedMcap` shows such a file with its damaged end left out and a footer
put behind it; nothing is copied and the file is not changed. Uncompressed chunks are kept up to
their last whole message; of compressed chunks only whole ones survive.

Source: mcap.dev/spec, records Header, Footer, Message and Chunk.
"""

from __future__ import annotations

import io
import struct
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from semla_ros.errors import BagError

MAGIC = b"\x89MCAP0\r\n"
_HEADER, _FOOTER, _CHUNK, _DATA_END = 0x01, 0x02, 0x06, 0x0F
_RECORD = struct.Struct("<BQ")
_CHUNK_HEAD = struct.Struct("<QQQI")
_TAIL = (
    _RECORD.pack(_DATA_END, 4) + bytes(4) + _RECORD.pack(_FOOTER, 20) + bytes(20) + MAGIC
)  # checksums and summary offsets of zero mean: none


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of the shown file: literal bytes, or `size` bytes of the real file at `offset`."""

    size: int
    offset: int = 0
    literal: bytes | None = None


def is_whole(path: Path) -> bool:
    """Return whether the file ends as a finished mcap does (or is no mcap at all)."""
    with path.open("rb") as stream:
        if stream.read(len(MAGIC)) != MAGIC:
            return True
        size = stream.seek(0, io.SEEK_END)
        stream.seek(max(0, size - len(MAGIC)))
        return size > len(MAGIC) and stream.read() == MAGIC


class MendedMcap:
    """A path-like to the readable part of a cut mcap file; rosbags opens it in place of a path."""

    def __init__(self, path: Path) -> None:
        """Survey `path`, record by record.

        Raises:
            BagError: Not even the first record is whole.
        """
        self._path = path
        self._pieces = _survey(path)

    suffix = ".mcap"

    def __str__(self) -> str:
        return str(self._path)

    def exists(self) -> bool:
        """Return True; the file was surveyed."""
        return self._path.exists()

    def is_dir(self) -> bool:
        """Return False."""
        return False

    def open(self, mode: str = "rb") -> BinaryIO:
        """Return a seekable binary stream of the mended file."""
        if mode != "rb":
            raise BagError(f"expected to read {str(self._path)!r} with mode 'rb', got {mode!r}")
        raw = _PiecewiseFile(self._path, self._pieces)
        return io.BufferedReader(raw, buffer_size=1 << 16)


class _PiecewiseFile(io.RawIOBase):
    """Stretches of one file and literal bytes, read as one."""

    def __init__(self, path: Path, pieces: tuple[_Piece, ...]) -> None:
        self._file = path.open("rb")
        self._pieces = pieces
        self._starts = [sum(p.size for p in pieces[:i]) for i in range(len(pieces))]
        self._size = sum(p.size for p in pieces)
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        if self._position >= self._size:
            return 0
        index = bisect_right(self._starts, self._position) - 1
        piece = self._pieces[index]
        start = self._position - self._starts[index]
        count = min(len(buffer), piece.size - start)
        if piece.literal is None:
            self._file.seek(piece.offset + start)
            data = self._file.read(count)
        else:
            data = piece.literal[start : start + count]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def _survey(path: Path) -> tuple[_Piece, ...]:
    """Return the stretches that make `path` a whole mcap."""
    with path.open("rb") as stream:
        size = stream.seek(0, io.SEEK_END)
        stream.seek(len(MAGIC))
        position, first = len(MAGIC), True
        while True:
            record = _record_at(stream, position, size)
            if record is None or record[0] in (_DATA_END, _FOOTER):
                break
            if first and record[0] != _HEADER:
                break
            first = False
            position = record[1]
        if first:
            raise BagError(
                f"recording {str(path)!r} was cut before its first message: nothing to read"
            )
        return (_Piece(position), *_rest_of_chunk(stream, position, size), _literal(_TAIL))


def _literal(data: bytes) -> _Piece:
    return _Piece(len(data), literal=data)


def _record_at(stream: BinaryIO, position: int, size: int) -> tuple[int, int] | None:
    """Return (opcode, end) of the record at `position`, None where it is not whole."""
    stream.seek(position)
    head = stream.read(_RECORD.size)
    if len(head) < _RECORD.size:
        return None
    opcode, length = _RECORD.unpack(head)
    end = position + _RECORD.size + length
    return (opcode, end) if end <= size and opcode != 0 else None


def _rest_of_chunk(stream: BinaryIO, position: int, size: int) -> tuple[_Piece, ...]:
    """Return an uncompressed, cut chunk at `position` shortened to its whole messages."""
    stream.seek(position)
    head = stream.read(_RECORD.size + _CHUNK_HEAD.size + 4)
    if len(head) < _RECORD.size + _CHUNK_HEAD.size + 4 or head[0] != _CHUNK:
        return ()
    first_ns, last_ns, _, _ = _CHUNK_HEAD.unpack_from(head, _RECORD.size)
    if head[-4:] != bytes(4):
        return ()
    start = position + len(head) + 8
    end = start
    while (record := _record_at(stream, end, size)) is not None:
        end = record[1]
    kept = end - start
    if kept <= 0:
        return ()
    body = _CHUNK_HEAD.pack(first_ns, last_ns, kept, 0) + bytes(4) + struct.pack("<Q", kept)
    return (_literal(_RECORD.pack(_CHUNK, len(body) + kept) + body), _Piece(kept, offset=start))
