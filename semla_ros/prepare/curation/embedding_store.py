"""Embeddings on their way to statistics: a file that survives an interruption.

One line of JSON says what belongs in it, then come blocks, each whole or not counted: a header,
the rows, the images left out as JSON, all under a crc32.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np

from semla_ros.core.errors import LibraryError
from semla_ros.core.files.structured_text import from_json
from semla_ros.core.types import Float32Array

_LOG = logging.getLogger(__name__)
_HEADER = struct.Struct("<4sIIII")
_MAGIC = b"BLK1"
_MAX_LINE, _MAX_NOTES = 4096, 16_000_000


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An image without an embedding, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Block:
    """The embeddings of a run of images.

    Attributes:
        number: Its place among the blocks.
        rows: (n, D) float32.
        left_out: Images of the run without an embedding.
    """

    number: int
    rows: Float32Array
    left_out: tuple[LeftOut, ...]


class EmbeddingStore:
    """The file of one run; `close` keeps it for the next, `discard` deletes it."""

    def __init__(self, path: Path, *, key: str, dim: int) -> None:
        """Open or begin the file; blocks made for another key or cut short are dropped.

        Args:
            path: The file.
            key: What the embeddings are of: source, encoder, block size.
            dim: Length of an embedding.

        Raises:
            LibraryError: It cannot be written, or another run holds it.
        """
        self.path = path
        self._dim = dim
        self._line = json.dumps({"format": 1, "key": key, "dim": dim}).encode() + b"\n"
        self._file = _opened(path)
        self._done: dict[int, int] = {}
        end = self._recover()
        self._file.seek(end)
        self._file.truncate()
        if end == 0:
            self._file.write(self._line)
            self._file.flush()

    @property
    def done(self) -> frozenset[int]:
        """Numbers of the blocks in the file."""
        return frozenset(self._done)

    def append(self, block: Block) -> None:
        """Add a block; once this returns, a killed process does not lose it.

        Raises:
            LibraryError: The disk is full.
        """
        rows = np.ascontiguousarray(block.rows, dtype="<f4").tobytes()
        notes = json.dumps([[x.name, x.reason] for x in block.left_out]).encode()
        crc = zlib.crc32(notes, zlib.crc32(rows))
        header = _HEADER.pack(_MAGIC, block.number, len(block.rows), len(notes), crc)
        try:
            start = self._file.seek(0, os.SEEK_END)
            self._file.write(header + rows + notes)
            self._file.flush()
        except OSError as error:
            raise LibraryError(f"cannot write {str(self.path)!r}: {error}") from error
        self._done[block.number] = start

    def blocks(self) -> Iterator[Block]:
        """Yield the blocks in order of their numbers, read from the file."""
        for number in sorted(self._done):
            self._file.seek(self._done[number])
            block = self._read_block()
            if block is None:
                raise LibraryError(
                    f"{str(self.path)!r} was changed while in use: delete it and start again"
                )
            yield block

    def close(self) -> None:
        """Close the file and keep it."""
        self._file.close()

    def discard(self) -> None:
        """Close and delete the file."""
        self.path.unlink(missing_ok=True)
        self._file.close()

    def __enter__(self) -> EmbeddingStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _recover(self) -> int:
        """Note the whole blocks of this key; return where the next one goes, 0 for none."""
        self._file.seek(0)
        line = self._file.readline(_MAX_LINE)
        if line != self._line:
            if line:
                _LOG.warning("%s is of another source or encoder: starting anew", self.path.name)
            return 0
        end = self._file.tell()
        while (block := self._read_block()) is not None:
            self._done[block.number] = end
            end = self._file.tell()
        return end

    def _read_block(self) -> Block | None:
        """Return the block at the file's position, None where there is no whole one."""
        header = self._file.read(_HEADER.size)
        if len(header) != _HEADER.size:
            return None
        magic, number, count, length, crc = _HEADER.unpack(header)
        size = count * self._dim * 4
        left = os.fstat(self._file.fileno()).st_size - self._file.tell()
        if magic != _MAGIC or length > _MAX_NOTES or size + length > left:
            return None
        rows, notes = self._file.read(size), self._file.read(length)
        if zlib.crc32(notes, zlib.crc32(rows)) != crc:
            return None
        try:
            left_out = tuple(LeftOut(name, reason) for name, reason in from_json(notes))
        except (ValueError, TypeError):
            return None
        table = np.frombuffer(rows, dtype="<f4").astype(np.float32).reshape(count, self._dim)
        return Block(number, table, left_out)


def _opened(path: Path) -> BinaryIO:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        file = os.fdopen(descriptor, "r+b")
    except OSError as error:
        raise LibraryError(f"cannot write {str(path)!r}: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise LibraryError(f"another run is embedding into {str(path)!r}: wait for it") from error
    return file
