"""The messages of any topic of a recording, decoded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semla_ros.core.errors import BagError
from semla_ros.data.bags.definitions import typestore_with
from semla_ros.data.bags.opening import guarded
from semla_ros.data.bags.recording import ImageTopic, stored_messages


@dataclass(frozen=True, slots=True)
class RecordedMessage:
    """One decoded message.

    Attributes:
        recorded_ns: When the recorder received it.
        message: As rosbags decodes it: fields by attribute.
    """

    recorded_ns: int
    message: Any


def read_topic(path: Path, topic: str, msgtype: str) -> Iterator[RecordedMessage]:
    """Yield the messages of `topic`, of ROS 2 type `msgtype`, in recorded order.

    Raises:
        BagError: There is no readable recording at `path`, or a message cannot be decoded.
    """
    store = typestore_with()
    for stored in stored_messages(path, ImageTopic(topic, msgtype, 0)):
        data = stored.data
        message = guarded(lambda data=data: store.deserialize_cdr(data, msgtype))  # type: ignore[misc]
        yield RecordedMessage(stored.recorded_ns, message)


_BILLION = 1_000_000_000
MAX_STAMP_NS = (1 << 31) * _BILLION
"""Beyond it a `builtin_interfaces/Time` holds no time."""


def sound_stamp_ns(message: Any) -> int:  # noqa: ANN401  any decoded message with a header
    """Return the header stamp of a decoded message in ns, 0 where it is empty.

    Raises:
        BagError: It is no time: negative, or beyond its fields.
    """
    stamp = message.header.stamp
    if not 0 <= int(stamp.nanosec) < _BILLION or not 0 <= stamp_ns(message) < MAX_STAMP_NS:
        raise BagError(
            f"its header stamp is no time: {int(stamp.sec)} s and {int(stamp.nanosec)} ns"
        )
    return stamp_ns(message)


def stamp_ns(message: Any) -> int:  # noqa: ANN401  any decoded message with a header
    """Return the header stamp of a decoded message in ns."""
    stamp = message.header.stamp
    return int(stamp.sec) * _BILLION + int(stamp.nanosec)
