"""The records of an mcap file, parsed from bytes whose sizes are checked first.

Source: mcap.dev/spec.
"""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lz4.frame import LZ4FrameDecompressor

from semla_ros.core.errors import BagError

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdDecompressor, ZstdError
else:
    from backports.zstd import ZstdDecompressor, ZstdError

MAGIC = b"\x89MCAP0\r\n"
HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK = 1, 2, 3, 4, 5, 6
CHUNK_INDEX, STATISTICS, DATA_END = 8, 11, 15
RECORD = struct.Struct("<BQ")
MESSAGE_HEAD = struct.Struct("<HIQQ")
MAX_CHUNK_BYTES = 1 << 28
"""Largest chunk that is opened; writers make them of about a megabyte, or of one message."""

_CHUNK_HEAD = struct.Struct("<QQQI")
_FOUR = struct.Struct("<QQQQ")


@dataclass(frozen=True, slots=True)
class Schema:
    """What a channel's messages are: a type's name, and the language that defines it."""

    name: str
    encoding: str


@dataclass(frozen=True, slots=True)
class Channel:
    """One topic of the file.

    Attributes:
        id: Its number.
        schema: Number of its schema, 0 for none.
        topic: Its name.
        encoding: How its messages are serialized.
    """

    id: int
    schema: int
    topic: str
    encoding: str


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of the file that holds messages: a chunk, or bare ones.

    Attributes:
        start_ns, end_ns: Between these log times.
        offset, size: Where it lies.
        chunked: It is a chunk.
        channels: Whose messages it holds; empty: not known.
    """

    start_ns: int
    end_ns: int
    offset: int
    size: int
    chunked: bool = True
    channels: frozenset[int] = frozenset()


class Fields:
    """Reads the fields of one record; what lies beyond its end is a BagError."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> memoryview:
        """Return the next `count` bytes."""
        end = self._at + count
        if end > len(self._data):
            raise BagError(f"a record of {len(self._data)} bytes ends before its fields")
        part = self._data[self._at : end]
        self._at = end
        return part

    def number(self, size: int) -> int:
        """Return the next unsigned number of `size` bytes."""
        return int.from_bytes(self.take(size), "little")

    def text(self) -> str:
        """Return the next string."""
        return bytes(self.take(self.number(4))).decode("utf-8", "replace")

    def rest(self) -> memoryview:
        """Return what is left."""
        return self._data[self._at :]


def schema_of(data: memoryview) -> tuple[int, Schema]:
    """Return the number and the content of a Schema record."""
    fields = Fields(data)
    return fields.number(2), Schema(fields.text(), fields.text())


def channel_of(data: memoryview) -> Channel:
    """Return the content of a Channel record."""
    fields = Fields(data)
    return Channel(fields.number(2), fields.number(2), fields.text(), fields.text())


def span_of_index(data: memoryview) -> Span:
    """Return where the chunk of a ChunkIndex record lies."""
    fields = Fields(data)
    start_ns, end_ns, offset, size = _FOUR.unpack(fields.take(_FOUR.size))
    table = fields.take(fields.number(4) // 10 * 10)
    channels = frozenset(channel for channel, _ in struct.iter_unpack("<HQ", table))
    return Span(start_ns, end_ns, offset, size, channels=channels)


def counts_of(data: memoryview) -> dict[int, int]:
    """Return channel -> number of messages of a Statistics record."""
    fields = Fields(data)
    fields.take(42)
    table = fields.take(fields.number(4) // 10 * 10)
    return dict(struct.iter_unpack("<HQ", table))


def records(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield (opcode, content) of the whole records in `data`; what is cut off ends them."""
    at = 0
    while at + RECORD.size <= len(data):
        opcode, length = RECORD.unpack_from(data, at)
        at += RECORD.size
        if at + length > len(data):
            return
        yield opcode, data[at : at + length]
        at += length


def summary_records(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield (opcode, content) of the records of a summary.

    Args:
        data: From its start to the end of the file.

    Raises:
        BagError: It is damaged.
    """
    end = len(data) - len(MAGIC)
    checksum = int.from_bytes(data[end - 4 : end], "little")
    if checksum and zlib.crc32(data[: end - 4]) != checksum:
        raise BagError("its checksum does not fit")
    for opcode, record in records(data[:end]):
        if opcode == FOOTER:
            return
        yield opcode, record
    raise BagError("its records run past its end")


def check_spans(spans: Iterable[Span], end: int) -> None:
    """Raise a BagError where indexed chunks overlap or lie beyond `end`, the end of the data."""
    at = 0
    for span in sorted(spans, key=lambda s: s.offset):
        if not at <= span.offset < span.offset + span.size <= end:
            raise BagError(f"no chunk of {span.size} bytes can lie at byte {span.offset}")
        at = span.offset + span.size


def chunk_times(data: memoryview) -> tuple[int, int]:
    """Return first and last log time of a Chunk record, of which the beginning is enough."""
    first_ns, last_ns, _, _ = _CHUNK_HEAD.unpack(Fields(data).take(_CHUNK_HEAD.size))
    return first_ns, last_ns


def chunk_content(data: memoryview, *, cut: bool = False) -> memoryview:
    """Return the records inside a Chunk record.

    Args:
        data: The chunk's content.
        cut: It is shorter than it was: of compressed ones what still comes out is returned.

    Raises:
        BagError: It is damaged, or larger than it says or than `MAX_CHUNK_BYTES`.
    """
    fields = Fields(data)
    _, _, size, checksum = _CHUNK_HEAD.unpack(fields.take(_CHUNK_HEAD.size))
    compression = fields.text()
    stored = fields.number(8)
    packed = fields.rest() if cut else fields.take(stored)
    if size > MAX_CHUNK_BYTES:
        raise BagError(f"expected chunks of at most {MAX_CHUNK_BYTES} bytes, got {size}")
    content = _unpacked(packed, compression, size)
    if cut:
        return memoryview(content)
    if len(content) != size:
        raise BagError(f"damaged chunk: expected {size} bytes, got {len(content)}")
    if checksum and zlib.crc32(content) != checksum:
        raise BagError("damaged chunk: its checksum does not fit")
    return memoryview(content)


def _unpacked(packed: memoryview, compression: str, size: int) -> bytes | memoryview:
    """Return at most `size` + 1 bytes of a chunk."""
    if not compression:
        return packed[: size + 1]
    try:
        if compression == "zstd":
            content: bytes = ZstdDecompressor().decompress(packed, max_length=size + 1)
            return content
        if compression == "lz4":
            return bytes(LZ4FrameDecompressor().decompress(packed, max_length=size + 1))
    except (ZstdError, RuntimeError, EOFError, MemoryError) as error:
        raise BagError(f"damaged chunk: {error}") from error
    raise BagError(f"expected chunks of lz4 or zstd, got {compression!r}")
