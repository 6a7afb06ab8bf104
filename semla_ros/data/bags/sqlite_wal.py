"""A sqlite3 database as SQLite would see it, its write-ahead log applied; nothing is written.

rosbag2 that was killed, or is still recording, leaves the newest messages in `<name>.db3-wal`.
SQLite itself would write beside the recording to read them. `WalView` shows the database with
the committed pages of the log in place: it works on read-only media and copies nothing.

Source: sqlite.org/fileformat2.html, section 4 (The Write-Ahead Log).
"""

from __future__ import annotations

import io
import os
import shutil
import sqlite3
import struct
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from semla_ros.core.errors import BagError

_MAGIC = 0x377F0682
_HEADER = struct.Struct(">IIIIIIII")
_FRAME = struct.Struct(">IIIIII")
_WORDS = npt.NDArray[np.uint32]


def wal_of(path: Path) -> Path | None:
    """Return the write-ahead log beside a database, None where there is none or it is empty."""
    return _beside(path, "-wal")


def recovered_copy(path: Path, folder: Path) -> Path | None:
    """Return a copy in `folder` of a database with a rollback journal, rolled back by SQLite.

    None where there is no journal.

    Raises:
        BagError: There is no room for the copy, or SQLite cannot mend it.
    """
    journal = _beside(path, "-journal")
    if journal is None:
        return None
    copy = folder / path.name
    try:
        shutil.copyfile(path, copy)
        shutil.copyfile(journal, folder / f"{path.name}-journal")
        with closing(sqlite3.connect(copy)) as database:
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except OSError as error:
        raise BagError(
            f"{str(path)!r} has a rollback journal, and its copy to {str(folder)!r} failed "
            f"({error.strerror}): set TMPDIR to a disk with room"
        ) from error
    except sqlite3.Error as error:
        raise BagError(f"{str(path)!r} cannot be rolled back: {error}") from error
    return copy


def _beside(path: Path, ending: str) -> Path | None:
    file = path.with_name(f"{path.name}{ending}")
    return file if file.is_file() and file.stat().st_size > _HEADER.size else None


class WalView:
    """A path-like to a database with its log applied; rosbags opens it in place of a path."""

    suffix = ".db3"

    def __init__(self, path: Path, wal: Path | None) -> None:
        """Survey the log; None shows the database as it is.

        Raises:
            BagError: It is none.
        """
        self._path = path
        self._wal = wal
        self._page, self._pages, self._size = 4096, dict[int, int](), path.stat().st_size
        if wal is not None:
            self._page, self._pages, self._size = _committed(wal, self._size)

    @property
    def pages(self) -> int:
        """How many pages of the log are in place."""
        return len(self._pages)

    def __str__(self) -> str:
        return "recording"

    def exists(self) -> bool:
        """Return True; the log was surveyed."""
        return True

    def is_dir(self) -> bool:
        """Return False."""
        return False

    def stat(self) -> os.stat_result:
        """Return the database's status with the size that it has with the log applied."""
        real = list(self._path.stat())
        real[6] = self._size
        return os.stat_result(real)

    def open(self, mode: str = "rb") -> BinaryIO:
        """Return a seekable binary stream of the database."""
        if mode != "rb":
            raise BagError(f"expected to read {str(self._path)!r} with mode 'rb', got {mode!r}")
        log = self._wal or self._path
        raw = _PagedFile(self._path, log, self._page, self._pages, size=self._size)
        return io.BufferedReader(raw, buffer_size=self._page)


class _PagedFile(io.RawIOBase):
    """Pages of a database, some of them out of its log."""

    def __init__(
        self, path: Path, wal: Path, page: int, pages: dict[int, int], *, size: int
    ) -> None:
        self._database = path.open("rb")
        self._log = wal.open("rb")
        self._page = page
        self._pages = pages
        self._size = size
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
        number, within = divmod(self._position, self._page)
        count = min(len(buffer), self._page - within, self._size - self._position)
        if count <= 0:
            return 0
        at = self._pages.get(number + 1)
        source = self._database if at is None else self._log
        source.seek(self._position if at is None else at + within)
        data = source.read(count)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        self._database.close()
        self._log.close()
        super().close()


def _committed(wal: Path, size: int) -> tuple[int, dict[int, int], int]:
    """Return page size, page number -> where its newest committed content is, database size."""
    with wal.open("rb") as log:
        head = log.read(_HEADER.size)
        magic, version, page, _, *rest = _HEADER.unpack(head)
        salts, expected = tuple(rest[:2]), tuple(rest[2:])
        order = ">" if magic & 1 else "<"
        if magic & ~1 != _MAGIC or version != 3007000 or not _is_page_size(page):
            raise BagError(f"{str(wal)!r} is no write-ahead log of SQLite")
        state = _checksum(head[:24], (0, 0), order)
        pages: dict[int, int] = {}
        pending: dict[int, int] = {}
        at, start = _HEADER.size, size
        while state == expected or at > _HEADER.size:
            frame = log.read(_FRAME.size)
            content = log.read(page)
            if len(frame) < _FRAME.size or len(content) < page:
                break
            number, commit, salt1, salt2, *sums = _FRAME.unpack(frame)
            state = _checksum(content, _checksum(frame[:8], state, order), order)
            if (salt1, salt2) != salts or state != tuple(sums):
                break  # what is left of an earlier round, or was not written to its end
            pending[number] = at + _FRAME.size
            at += _FRAME.size + page
            if commit * page > start + at:
                break  # more pages than both files hold
            if commit:
                pages.update(pending)
                pending.clear()
                size = commit * page
    return page, pages, size


def _is_page_size(page: int) -> bool:
    return 512 <= page <= 65536 and page & (page - 1) == 0


def _checksum(data: bytes, state: tuple[int, int], order: str) -> tuple[int, int]:
    """Return SQLite's running checksum of `data`, 8 n bytes, continued from `state`.

    For every pair of words: s0 += x0 + s1, then s1 += x1 + s0, modulo 2^32. That is linear, so
    the pairs are weighted by powers of one matrix and summed.
    """
    pairs = np.frombuffer(data, f"{order}u4").astype(np.uint32).reshape(-1, 2)
    weights, power = _powers(len(pairs))
    start = np.array(state, np.uint32)
    total = (weights * pairs[:, None, :]).sum(axis=(0, 2), dtype=np.uint32)
    total = total + (power * start[None, :]).sum(axis=1, dtype=np.uint32)
    return int(total[0]), int(total[1])


@cache
def _powers(count: int) -> tuple[_WORDS, _WORDS]:
    """Return the weights (count, 2, 2) of the pairs, and of the state before them (2, 2)."""
    step, inject = [[1, 1], [1, 2]], [[1, 0], [1, 1]]
    power = [[1, 0], [0, 1]]
    weights = np.empty((count, 2, 2), np.uint32)
    for at in range(count - 1, -1, -1):
        weights[at] = _product(power, inject)
        power = _product(power, step)
    return weights, np.array(power, np.uint32)


def _product(a: list[list[int]], b: list[list[int]]) -> list[list[int]]:
    """Return a b modulo 2^32."""
    return [
        [(a[i][0] * b[0][j] + a[i][1] * b[1][j]) & 0xFFFFFFFF for j in range(2)] for i in range(2)
    ]
