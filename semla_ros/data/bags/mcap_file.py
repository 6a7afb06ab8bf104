"""Reading mcap files of any writer: the channels of ROS, whole or cut off, indexed or not.

A recorder that is killed, or a disk that runs full, leaves an mcap without footer and index.
Such a file is surveyed record by record, as one that never had an index; of its last chunk what
still comes out is read. Channels that are not ROS messages are left out and named in `foreign`.

Source: mcap.dev/spec; a recording may mix encodings, its header's profile is only a hint.
"""

from __future__ import annotations

import heapq
import io
import itertools
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from semla_ros.core.errors import BagError
from semla_ros.data.bags import mcap_records as mcap
from semla_ros.data.bags.allowance import Allowance
from semla_ros.data.bags.mcap_records import Channel, Schema, Span

_ENCODINGS = {"cdr": False, "ros1": True}
"""Message encodings that are read -> whether they are ROS 1's."""
_BARE_BYTES = 4 << 20
_MAX_HELD_BYTES = 1 << 28
_RECORD_COST = 500
"""What a record costs in memory and time beside its bytes, in bytes."""
_MAX_RECORD_BYTES = mcap.MAX_CHUNK_BYTES + (4 << 20)
"""No more is read at once: the largest chunk, its head, and what packing in vain adds."""
_READ = (mcap.SCHEMA, mcap.CHANNEL, mcap.MESSAGE, mcap.CHUNK)
_MAX_SUMMARY_BYTES = 1 << 28
_FOOTER_BYTES = mcap.RECORD.size + 20 + len(mcap.MAGIC)


@dataclass(frozen=True, slots=True)
class McapTopic:
    """One readable channel: number, topic, ROS 2 type, messages, and whether they are ROS 1's."""

    id: int
    topic: str
    msgtype: str
    msgcount: int
    ros1: bool


@dataclass(frozen=True, slots=True)
class ForeignTopic:
    """A channel that is not read: topic, type, how its messages are serialized, how many."""

    topic: str
    msgtype: str
    encoding: str
    msgcount: int


class McapFile:
    """One `.mcap`; looks like rosbags' readers as far as needed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._size = 0
        self._allowance = Allowance(0)
        self._spans: list[Span] = []
        self._schemas: dict[int, Schema] = {}
        self._channels: dict[int, Channel] = {}
        self._counts: Counter[int] = Counter()
        self.notes: list[str] = []
        self.connections: list[McapTopic] = []
        self.foreign: list[ForeignTopic] = []

    def open(self) -> None:
        """Read the topics.

        Raises:
            BagError: It is no mcap, or was cut before its first record ended.
        """
        self._file = self._path.open("rb")
        self._size = self._file.seek(0, io.SEEK_END)
        self._allowance = Allowance(self._size)
        if self._read(0, len(mcap.MAGIC)) != mcap.MAGIC:
            raise BagError(f"expected an mcap, got a file of {self._size} bytes that is none")
        if not self._indexed():
            self._survey()
        for channel in self._channels.values():
            schema = self._schemas.get(channel.schema, Schema("", ""))
            count = self._counts[channel.id]
            if channel.encoding in _ENCODINGS:
                kind, ros1 = _ros2_name(schema.name), _ENCODINGS[channel.encoding]
                self.connections.append(McapTopic(channel.id, channel.topic, kind, count, ros1))
            else:
                foreign = ForeignTopic(channel.topic, schema.name, channel.encoding, count)
                self.foreign.append(foreign)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def messages(
        self, connections: Collection[McapTopic]
    ) -> Iterator[tuple[McapTopic, int, bytes]]:
        """Yield (connection, log time, data) by log time.

        Raises:
            BagError: Damage; what comes before it was yielded.
        """
        self._allowance = Allowance(self._size)
        wanted = {c.id: c for c in connections}
        held: list[tuple[int, int, int, bytes]] = []
        size = 0
        order = itertools.count()
        kept = [s for s in self._spans if not s.channels or not s.channels.isdisjoint(wanted)]
        spans = sorted(kept, key=lambda s: (s.start_ns, s.offset))
        for number, span in enumerate(spans):
            for channel, stamp_ns, data in self._messages_in(span):
                if channel in wanted:
                    heapq.heappush(held, (stamp_ns, next(order), channel, bytes(data)))
                    size += len(data) + _RECORD_COST
                    if size > 2 * _MAX_HELD_BYTES:  # one chunk of many small messages
                        raise BagError(f"its chunk at byte {span.offset} holds too much")
            later = spans[number + 1].start_ns if number + 1 < len(spans) else None
            while held and (later is None or held[0][0] < later or size > _MAX_HELD_BYTES):
                stamp_ns, _, channel, payload = heapq.heappop(held)
                size -= len(payload) + _RECORD_COST
                yield wanted[channel], stamp_ns, payload

    def _messages_in(self, span: Span) -> Iterator[tuple[int, int, memoryview]]:
        """Yield (channel, log time, data) of one span."""
        content = memoryview(self._read(span.offset, span.size))
        if span.chunked:
            opcode, length = mcap.RECORD.unpack_from(content)
            if opcode != mcap.CHUNK:
                raise BagError(f"damaged index: expected a chunk at byte {span.offset}")
            body = content[mcap.RECORD.size :]
            content = self._opened(body, cut=length > len(body))
        for opcode, record in mcap.records(content):
            self._allowance.take(_RECORD_COST)
            if opcode == mcap.MESSAGE and len(record) >= mcap.MESSAGE_HEAD.size:
                channel, _, stamp_ns, _ = mcap.MESSAGE_HEAD.unpack_from(record)
                yield channel, stamp_ns, record[mcap.MESSAGE_HEAD.size :]

    def _opened(self, chunk: memoryview, *, cut: bool) -> memoryview:
        """Return the records in a chunk."""
        content = mcap.chunk_content(chunk, cut=cut)
        self._allowance.take(len(content))
        return content

    def _indexed(self) -> bool:
        """Read the summary; return whether it serves. A damaged one is forgotten, with a note."""
        try:
            if self._summarised():
                return True
        except BagError as error:
            self.notes.append(f"has a damaged index ({error}): reading it record by record")
            self._schemas.clear()
            self._channels.clear()
        self._spans.clear()
        self._counts.clear()
        return False

    def _summarised(self) -> bool:
        """Read the summary at the end of the file; return whether there is a usable one."""
        if self._size < _FOOTER_BYTES + len(mcap.MAGIC):
            return False
        tail = self._read(self._size - _FOOTER_BYTES, _FOOTER_BYTES)
        if not tail.endswith(mcap.MAGIC) or tail[0] != mcap.FOOTER:
            return False
        start = int.from_bytes(tail[9:17], "little")
        size = self._size - start
        if not len(mcap.MAGIC) < start or not _FOOTER_BYTES < size <= _MAX_SUMMARY_BYTES:
            return False
        counted = False
        for opcode, record in mcap.summary_records(memoryview(self._read(start, size))):
            if opcode == mcap.CHUNK_INDEX:
                self._spans.append(mcap.span_of_index(record))
            elif opcode == mcap.STATISTICS:
                self._counts.update(mcap.counts_of(record))
                counted = True
            else:
                self._describe(opcode, record)
        mcap.check_spans(self._spans, start)
        return counted and bool(self._channels) and bool(self._spans or not self._counts.total())

    def _describe(self, opcode: int, record: memoryview) -> None:
        if opcode == mcap.SCHEMA:
            key, schema = mcap.schema_of(record)
            self._schemas[key] = schema
        elif opcode == mcap.CHANNEL:
            channel = mcap.channel_of(record)
            self._channels[channel.id] = channel

    def _survey(self) -> None:
        """Find spans, channels and counts record by record, as far as the file goes."""
        at: int | None = len(mcap.MAGIC)
        try:
            while at is not None:
                at = self._survey_record(at)
        except BagError as error:
            if at == len(mcap.MAGIC):
                raise BagError("it was cut before its first message: nothing to read") from error
            self.notes.append(f"was cut off or damaged at byte {at}: reading it as far as it goes")

    def _survey_record(self, at: int) -> int | None:
        """Note what the record at `at` holds; return where it ends, None after the data.

        Raises:
            BagError: It is cut off or damaged; of a chunk what is left was noted.
        """
        head = self._read(at, mcap.RECORD.size)
        opcode, length = mcap.RECORD.unpack(head) if len(head) == mcap.RECORD.size else (0, 0)
        if opcode == 0 or (at == len(mcap.MAGIC) and opcode != mcap.HEADER):
            raise BagError("no record")
        if opcode in (mcap.DATA_END, mcap.FOOTER):
            return None
        end: int = at + mcap.RECORD.size + length
        whole = end <= self._size and (end - at <= _MAX_RECORD_BYTES or opcode not in _READ)
        if whole or opcode == mcap.CHUNK:
            self._take(opcode, at, min(end, self._size))
        if not whole:
            raise BagError("no whole record")
        return end

    def _take(self, opcode: int, at: int, end: int) -> None:
        """Note what the record in the bytes `at` to `end` holds."""
        if opcode in (mcap.SCHEMA, mcap.CHANNEL):
            self._describe(opcode, memoryview(self._read(at, end - at))[mcap.RECORD.size :])
        elif opcode == mcap.MESSAGE:
            head = self._read(at + mcap.RECORD.size, mcap.MESSAGE_HEAD.size)
            if len(head) == mcap.MESSAGE_HEAD.size:
                channel, _, stamp_ns, _ = mcap.MESSAGE_HEAD.unpack(head)
                self._counts[channel] += 1
                self._add_bare(Span(stamp_ns, stamp_ns, at, end - at, chunked=False))
        elif opcode == mcap.CHUNK:
            self._take_chunk(at, end)

    def _take_chunk(self, at: int, end: int) -> None:
        record = memoryview(self._read(at, end - at))
        content = record[mcap.RECORD.size :]
        cut = mcap.RECORD.unpack_from(record)[1] > len(content)
        start_ns, end_ns = mcap.chunk_times(content)
        try:
            self._take_inside(self._opened(content, cut=cut))
        except BagError:
            if cut and end == self._size:  # too little of the last chunk is left
                return
        self._spans.append(Span(start_ns, end_ns, at, end - at))  # reading it says what is wrong

    def _take_inside(self, content: memoryview) -> None:
        for opcode, record in mcap.records(content):
            self._allowance.take(_RECORD_COST)
            if opcode == mcap.MESSAGE and len(record) >= mcap.MESSAGE_HEAD.size:
                self._counts[mcap.MESSAGE_HEAD.unpack_from(record)[0]] += 1
            else:
                self._describe(opcode, record)

    def _add_bare(self, span: Span) -> None:
        """Note messages outside of chunks, neighbours together."""
        last = self._spans[-1] if self._spans else None
        if (
            last is None
            or last.chunked
            or last.offset + last.size != span.offset
            or last.size + span.size > _BARE_BYTES
        ):
            self._spans.append(span)
            return
        start, end = min(last.start_ns, span.start_ns), max(last.end_ns, span.end_ns)
        self._spans[-1] = Span(start, end, last.offset, last.size + span.size, chunked=False)

    def _read(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes; never more than the file has or than a record may."""
        if self._file is None:
            raise BagError(f"{str(self._path)!r} is not open")
        self._file.seek(offset)
        return self._file.read(max(0, min(size, self._size - offset, _MAX_RECORD_BYTES)))


def _ros2_name(name: str) -> str:
    """Return `package/msg/Type` of ROS 1's `package/Type` too."""
    parts = name.split("/")
    return f"{parts[0]}/msg/{parts[1]}" if len(parts) == 2 else name
