"""Writing mcap recordings that Foxglove, Rerun and `ros2 bag` open; no ROS needed."""

from __future__ import annotations

import logging
import os
import shutil
import struct
import tempfile
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from rosbags.interfaces import Connection, Nodetype
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.rosbag2.errors import WriterError
from rosbags.rosbag2.storage_mcap import McapWriter

from semla_ros.core.errors import BagError
from semla_ros.data.bags.definitions import typestore_with

_LOG = logging.getLogger(__name__)
_NUMPY = {"bool": np.bool_, "byte": np.uint8, "char": np.uint8} | {
    name: np.dtype(name).type
    for name in (
        *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
        "float32",
        "float64",
    )
}


def _kept(written: Path, partial: Path) -> Path:
    """Give an unfinished file a name that says so; return where it lies."""
    try:
        return written.replace(partial)
    except OSError:
        return written


class BagWriter:
    """Writes one `.mcap` file; it appears under its name only when it is whole.

    Chunks are compressed with zstd and go to the disk as they fill and at `checkpoint`. Leaving
    the context by an exception, or on a full disk, keeps what was written as
    `<name>.partial.mcap`; a killed process leaves `<name>.partial-*/bag/bag.mcap`. Both are
    readable here as far as they go.

    Example: `with BagWriter(Path("drive.mcap")) as bag: bag.write(topic, IMAGE, fields, 0)`.
    """

    def __init__(self, path: Path, *, definitions: Mapping[str, str] | None = None) -> None:
        """Prepare to write `path`; nothing is on disk before the context is entered.

        Args:
            path: Ends in `.mcap`; an existing file is replaced when the new one is whole.
            definitions: Message type -> `.msg` text of types besides ROS 2's common interfaces
                and this package's.

        Raises:
            BagError: `path` has another ending, or a definition is unusable.
        """
        if path.suffix != ".mcap":
            raise BagError(f"expected a file ending in .mcap, got {str(path)!r}")
        self.path = path
        self._types = typestore_with(definitions)
        self._connections: dict[str, Connection] = {}
        self._folder: Path | None = None
        self._writer: Writer | None = None
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="bag-disk")
        self._reached: Future[None] | None = None

    def knows(self, msgtype: str) -> bool:
        """Return whether messages of this type can be written."""
        return msgtype in self._types.fielddefs

    def __enter__(self) -> BagWriter:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            folder = Path(
                tempfile.mkdtemp(prefix=f"{self.path.stem}.partial-", dir=self.path.parent)
            )
        except OSError as error:
            raise BagError(f"cannot write {str(self.path)!r}: {error}") from error
        self._folder = folder
        writer = Writer(folder / "bag", version=9, storage_plugin=StoragePlugin.MCAP)
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        writer.open()
        self._writer = writer
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        writer, folder = self._writer, self._folder
        self._writer = None
        self._disk.shutdown()
        if writer is None or folder is None:
            return
        written, partial = folder / "bag" / "bag.mcap", self.path.with_suffix(".partial.mcap")
        try:
            writer.close()
            written.replace(self.path if kind is None else partial)
        except (OSError, WriterError) as error:
            with suppress(OSError, AttributeError):
                writer.storage.abort()  # type: ignore[union-attr]
            kept = _kept(written, partial)
            told = (
                f"cannot finish {str(self.path)!r}: {error}; what was recorded is kept in "
                f"{str(kept)!r}, which semla reads as it is; `mcap recover` mends it for others"
            )
            if kind is None:
                raise BagError(told) from error
            _LOG.error("%s", told)
        finally:
            if not written.exists():
                shutil.rmtree(folder, ignore_errors=True)

    @property
    def unfinished(self) -> Path:
        """Where the recording lies until it is whole, readable up to the last checkpoint."""
        return (self._folder or self.path.parent) / "bag" / "bag.mcap"

    def checkpoint(self) -> None:
        """Make what was written so far readable and bring it to the disk, not waiting for it.

        After a crash or a power cut the file reads up to the checkpoint before.

        Raises:
            BagError: The disk is full or gone.
        """
        storage = self._writer.storage if self._writer is not None else None
        if not isinstance(storage, McapWriter):
            return
        ready = self._reached is None or self._reached.done()
        try:
            if self._reached is not None and ready:
                self._reached.result()
            if storage.chunk.bio.tell():
                storage.close_chunk()
            storage.bio.flush()
        except OSError as error:
            raise BagError(f"cannot write to {str(self.path)!r}: {error}") from error
        if ready:
            self._reached = self._disk.submit(os.fsync, storage.bio.fileno())

    def write(self, topic: str, msgtype: str, fields: Mapping[str, object], stamp_ns: int) -> None:
        """Write one message given as nested mappings.

        Args:
            topic: Its topic; a topic holds one type.
            msgtype: e.g. `std_msgs/msg/String`.
            fields: Field name -> value, every field given; nested messages as mappings, sequences
                of numbers as numpy arrays or lists.
            stamp_ns: Log and publish time.

        Raises:
            BagError: Unknown type, wrong fields, or the disk is full.
        """
        message = self._message(msgtype, fields)
        try:
            data = self._types.serialize_cdr(message, msgtype)
        except (TypeError, ValueError, AttributeError, AssertionError, struct.error) as error:
            raise BagError(f"message of {msgtype!r} does not fit its type: {error}") from error
        self.write_raw(topic, msgtype, data, stamp_ns)

    def write_raw(self, topic: str, msgtype: str, cdr: bytes | memoryview, stamp_ns: int) -> None:
        """Write one serialized (CDR) message as it came from the wire.

        Raises:
            BagError: The type is unknown, the topic holds another type, or the disk is full.
        """
        connection = self._connection(topic, msgtype)
        writer = self._writer
        if writer is None:
            raise BagError(f"{str(self.path)!r} is not open for writing: use it as a context")
        try:
            writer.write(connection, stamp_ns, cdr)
        except (OSError, WriterError) as error:
            raise BagError(f"cannot write to {str(self.path)!r}: {error}") from error

    def _connection(self, topic: str, msgtype: str) -> Connection:
        known = self._connections.get(topic)
        if known is not None:
            if known.msgtype != msgtype:
                raise BagError(
                    f"topic {topic!r} holds {known.msgtype!r}: a message of {msgtype!r} needs "
                    "another topic"
                )
            return known
        if self._writer is None:
            raise BagError(f"{str(self.path)!r} is not open for writing: use it as a context")
        if not self.knows(msgtype):
            raise BagError(
                f"message type {msgtype!r} is unknown: give its .msg text in `definitions`"
            )
        connection = self._writer.add_connection(topic, msgtype, typestore=self._types)
        self._connections[topic] = connection
        return connection

    def _message(self, msgtype: str, fields: Mapping[str, object]) -> object:
        """Return rosbags' message of a nested mapping."""
        if not self.knows(msgtype):
            raise BagError(
                f"message type {msgtype!r} is unknown: give its .msg text in `definitions`"
            )
        _, declared = self._types.fielddefs[msgtype]
        names = [name for name, _ in declared]
        if set(names) != set(fields):
            raise BagError(
                f"message of {msgtype!r}: expected the fields {names!r}, got {sorted(fields)!r}"
            )
        values: dict[str, Any] = {
            name: self._value(description, fields[name]) for name, description in declared
        }
        return self._types.types[msgtype](**values)

    def _value(self, description: Any, value: Any) -> Any:  # noqa: ANN401  any ROS field
        kind, detail = description
        if kind == Nodetype.NAME:
            return self._message(detail, value)
        if kind == Nodetype.BASE:
            return value
        (item_kind, item), _ = detail
        if item_kind == Nodetype.NAME:
            return [self._message(item, each) for each in value]
        if item[0] == "string":
            return [str(each) for each in value]
        return np.ascontiguousarray(np.asarray(value, dtype=_NUMPY[item[0]]))
