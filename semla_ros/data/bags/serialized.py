"""The messages of one image topic as they lie in the recording, to be played back untouched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from semla_ros.core.errors import BagError
from semla_ros.data.bags.opening import NoteSink
from semla_ros.data.bags.recording import choose_topic, log_note, stored_messages


@dataclass(frozen=True, slots=True)
class SerializedMessage:
    """One CDR message: type, time of recording in ns, bytes with encapsulation header."""

    msgtype: str
    recorded_ns: int
    data: bytes


def read_serialized(
    path: Path, *, topic: str | None = None, on_note: NoteSink = log_note
) -> Iterator[SerializedMessage]:
    """Yield the messages of one image topic in recorded order.

    Args:
        path: A rosbag2 folder, or a single `.mcap` or `.db3` file.
        topic: The image topic; None takes the only one.
        on_note: Gets one line for each thing that is wrong but could be mended.

    Raises:
        BagError: No recording, no single image topic, or a ROS 1 bag; at the first `next`.
    """
    chosen = choose_topic(path, topic, on_note=on_note)
    for message in stored_messages(path, chosen, on_note=on_note):
        if message.ros1:
            raise BagError(
                f"{str(path)!r} is a ROS 1 bag, whose messages cannot be sent as they are: "
                "convert it with `rosbags-convert`"
            )
        yield SerializedMessage(message.msgtype, message.recorded_ns, bytes(message.data))
