"""Embeddings on their way to statistics: a folder of blocks that survives an interruption."""

from __future__ import annotations

import fcntl
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from semla_ros.core.errors import LibraryError
from semla_ros.core.files.npz_file import npz_content, read_arrays
from semla_ros.core.files.whole_file import write_file
from semla_ros.core.types import Float32Array

_LOG = logging.getLogger(__name__)
_MAX_BLOCK_BYTES = 64_000_000
_LOCK = "lock"


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
    """The blocks of one run; see `open_store`."""

    def __init__(self, folder: Path, *, key: str, dim: int) -> None:
        self._folder, self._key, self._dim = folder, key, dim
        numbers = {int(p.stem) for p in folder.glob("*.npz") if p.stem.isdecimal()}
        self._done = {number for number in numbers if self._read(number) is not None}
        if numbers and not self._done:
            _LOG.warning("%s is of another source or encoder: starting anew", folder.name)

    @property
    def done(self) -> frozenset[int]:
        """Numbers of the blocks that are there."""
        return frozenset(self._done)

    def append(self, block: Block) -> None:
        """Add a block; once this returns, a killed process does not lose it.

        Raises:
            LibraryError: The disk is full.
        """
        notes = [(item.name, item.reason) for item in block.left_out]
        arrays = {
            "key": np.array(self._key),
            "rows": np.asarray(block.rows, "<f4"),
            "left_out": np.array(notes, np.str_).reshape(-1, 2),
        }
        write_file(self._path(block.number), npz_content(arrays), error=LibraryError)
        self._done.add(block.number)

    def blocks(self) -> Iterator[Block]:
        """Yield the blocks in order of their numbers, read from the disk."""
        for number in sorted(self._done):
            block = self._read(number)
            if block is None:
                raise LibraryError(
                    f"{str(self._folder)!r} was changed while in use: delete it and start again"
                )
            yield block

    def discard(self) -> None:
        """Delete what is kept."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:08d}.npz"

    def _read(self, number: int) -> Block | None:
        """Return a block, None where it is damaged or of another run."""
        try:
            found = read_arrays(self._path(number), max_bytes=_MAX_BLOCK_BYTES)
            key, rows, notes = found["key"], found["rows"], found["left_out"]
        except (OSError, ValueError, KeyError):
            return None
        texts = notes.dtype.kind == "U" and notes.ndim == 2 and notes.shape[1] == 2
        numbers = rows.dtype == np.float32 and rows.ndim == 2 and rows.shape[1] == self._dim
        if key.tolist() != self._key or not texts or not numbers:
            return None
        left_out = tuple(LeftOut(name, reason) for name, reason in notes.tolist())
        return Block(number, np.asarray(rows, np.float32), left_out)


@contextmanager
def open_store(folder: Path, *, key: str, dim: int) -> Iterator[EmbeddingStore]:
    """Yield the store in `folder`, which is kept for the next run unless it is discarded.

    Args:
        folder: Made where missing.
        key: What the embeddings are of: source, encoder, block size; blocks of another key are
            made anew.
        dim: Length of an embedding.

    Raises:
        LibraryError: It cannot be written, or another run holds it.
    """
    with _locked(folder):
        yield EmbeddingStore(folder, key=key, dim=dim)


def _locked(folder: Path) -> IO[bytes]:
    try:
        folder.mkdir(exist_ok=True)
        lock = (folder / _LOCK).open("wb")
    except OSError as error:
        raise LibraryError(f"cannot write {str(folder)!r}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise LibraryError(
            f"another run is embedding into {str(folder)!r}: wait for it"
        ) from error
    return lock
