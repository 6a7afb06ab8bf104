"""ROS 1 bags through rosbags' reader, with bounds on what a damaged or hostile one costs."""

from __future__ import annotations

import io
from collections.abc import Collection, Generator
from pathlib import Path
from typing import Any, BinaryIO

from rosbags.interfaces import Connection
from rosbags.rosbag1 import Reader
from rosbags.rosbag1.reader import Chunk, decompressors

from semla_ros.core.errors import BagError
from semla_ros.data.bags.allowance import Allowance, unpack_ros1

_ENTRY_BYTES = 12
_NAMES = {function: name for name, function in decompressors.items()}


class _WholeFile(io.BufferedReader):
    """A file that sets no more memory aside for a record than it has bytes."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.open("rb", buffering=0))
        self._size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, self._size - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))


class _Place:
    """What rosbags needs of a path."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    def exists(self) -> bool:
        return True

    def open(self, _: str) -> BinaryIO:
        return _WholeFile(self._path)


class Ros1Bag(Reader):
    """rosbags' reader; chunks are unpacked within bounds, its index is no larger than the file."""

    def __init__(self, path: Path) -> None:
        place: Any = _Place(path)
        super().__init__(place)
        self._size = path.stat().st_size
        self._entries = 0
        self._allowance = Allowance(self._size)

    def read_chunk(self) -> Chunk:
        """Return where a chunk lies, and what unpacks it."""
        chunk = super().read_chunk()
        compression = _NAMES[chunk.decompressor]

        def unpack(data: bytes) -> bytes:
            content = unpack_ros1(data, compression)
            self._allowance.take(len(content))
            return content

        return Chunk(chunk.datasize, chunk.datapos, unpack)

    def read_index_data(self, pos: int, indexes: dict[int, list[Any]]) -> None:
        """Read the index of one connection in one chunk.

        Raises:
            BagError: With it there are more entries than the file has room for.
        """
        before = sum(map(len, indexes.values()))
        super().read_index_data(pos, indexes)
        self._entries += sum(map(len, indexes.values())) - before
        if self._entries * _ENTRY_BYTES > self._size:
            raise BagError("damaged index: it names more messages than there are")

    def messages(
        self,
        connections: Collection[Connection] = (),
        start: int | None = None,
        stop: int | None = None,
    ) -> Generator[tuple[Connection, int, bytes], None, None]:
        """Yield (connection, time of recording, data) by time."""
        self._allowance = Allowance(self._size)
        yield from super().messages(connections, start, stop)
