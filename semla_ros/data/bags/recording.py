"""Finding the camera in recordings, and its messages as they were stored."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from semla_ros.core.errors import BagError
from semla_ros.data.bags.mcap_file import McapFile
from semla_ros.data.bags.opening import NoteSink, guarded, open_readers
from semla_ros.data.bags.ros1_bag import Ros1Bag
from semla_ros.data.bags.unpacking import unpacked_message

RAW = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
_PICTURES = ("Video", "CompressedImage", "RawImage", "FFMPEGPacket", "h264", "H264")
"""Parts of the names of types that carry pictures which are not read."""

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ImageTopic:
    """One camera stream of a recording: topic, message type, number of messages."""

    name: str
    msgtype: str
    count: int


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One message as it lies in the recording.

    Attributes:
        msgtype: Its type.
        recorded_ns: Time of recording.
        data: Serialized: CDR with its encapsulation header, or ROS 1's format.
        ros1: It is in ROS 1's format.
    """

    msgtype: str
    recorded_ns: int
    data: bytes
    ros1: bool


def log_note(text: str) -> None:
    """Log a note about a recording as a warning; the default of every `on_note`."""
    _LOG.warning("%s", text)


def image_topics(path: Path, *, on_note: NoteSink = log_note) -> tuple[ImageTopic, ...]:
    """Return the image topics of a recording, by name.

    Args:
        path: A rosbag2 folder, or a single `.mcap`, `.db3` or ROS 1 `.bag` file.
        on_note: Gets one line for each thing that is wrong but could be mended.

    Raises:
        BagError: There is no readable recording at `path`.
    """
    counts: dict[tuple[str, str], int] = {}
    with ExitStack() as stack:
        for reader in open_readers(path, stack, on_note):
            for each in reader.connections:
                if each.msgtype in (RAW, COMPRESSED):
                    key = (each.topic, each.msgtype)
                    counts[key] = counts.get(key, 0) + each.msgcount
    return tuple(ImageTopic(name, kind, count) for (name, kind), count in sorted(counts.items()))


def choose_topic(
    path: Path,
    topic: str | None,
    *,
    on_note: NoteSink = log_note,
    but: Collection[str] = (),
) -> ImageTopic:
    """Return the image topic called `topic`, or the only one that holds messages.

    Args:
        path: As for `image_topics`.
        topic: Its name; None for the only one.
        on_note: Gets a line for what had to be mended.
        but: Topics that are not meant where `topic` is None.

    Raises:
        BagError: No image topic, several and none chosen, or none of that name; those there are
            listed.
    """
    found = image_topics(path, on_note=on_note)
    listing = ", ".join(f"{t.name} ({t.count})" for t in found) or "none"
    if topic is not None:
        for each in found:
            if each.name.lstrip("/") == topic.lstrip("/"):
                return each
        raise BagError(
            f"recording {str(path)!r} has no image topic {topic!r}: image topics are {listing}"
        )
    others = {name.lstrip("/") for name in but}
    filled = [t for t in found if t.count and t.name.lstrip("/") not in others]
    if len(filled) == 1:
        return filled[0]
    if not filled:
        raise BagError(
            f"recording {str(path)!r} has no images: image topics are {listing}; "
            f"expected messages of {RAW} or {COMPRESSED}{_other_pictures(path)}"
        )
    raise BagError(
        f"recording {str(path)!r} has {len(filled)} image topics, choose one with --topic: "
        f"{listing}"
    )


def _other_pictures(path: Path) -> str:
    """Return which topics carry pictures that are not read, and what to do; empty: none."""
    found: list[str] = []
    with ExitStack() as stack:
        for reader in open_readers(path, stack, lambda _: None):
            others = [(c.topic, c.msgtype) for c in reader.connections]
            if isinstance(reader, McapFile):
                others += [(c.topic, f"{c.msgtype} as {c.encoding}") for c in reader.foreign]
            found += [
                f"{topic} ({kind})"
                for topic, kind in others
                if kind not in (RAW, COMPRESSED) and any(p in kind for p in _PICTURES)
            ]
    if not found:
        return ""
    return (
        f"; not read: {', '.join(dict.fromkeys(found))}: record them again as images, "
        "republished by image_transport (video by its plugins ffmpeg_image_transport and "
        "foxglove_compressed_video_transport)"
    )


def stored_messages(
    path: Path, topic: ImageTopic, *, on_note: NoteSink = log_note
) -> Iterator[StoredMessage]:
    """Yield the messages of one topic in recorded order; damage ends them with a note.

    Args:
        path: As for `image_topics`.
        topic: From `choose_topic`, which has noted what had to be mended to open the recording.
        on_note: Gets a line where the recording is damaged inside.

    Raises:
        BagError: There is no readable recording at `path`; at the first `next`.
    """
    key = (topic.name, topic.msgtype)
    with ExitStack() as stack:
        for reader in open_readers(path, stack, lambda _: None):
            wanted: list[Any] = [c for c in reader.connections if (c.topic, c.msgtype) == key]
            if not wanted:
                continue
            ros1 = isinstance(reader, Ros1Bag) or any(getattr(c, "ros1", False) for c in wanted)
            messages = reader.messages(connections=wanted)
            for _, recorded_ns, data in _until_damage(messages, path, on_note):
                # A row of a database may hold anything.
                whole = bytes(data) if isinstance(data, bytes | memoryview) else b""
                stamp_ns = recorded_ns if isinstance(recorded_ns, int) else 0
                content = whole if ros1 else unpacked_message(whole)
                yield StoredMessage(topic.msgtype, stamp_ns, content, ros1)


def read_serialized(
    path: Path, *, topic: str | None = None, on_note: NoteSink = log_note
) -> Iterator[StoredMessage]:
    """Yield the messages of one image topic in recorded order, to be played back untouched.

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
        yield message


def _until_damage(messages: Iterator[_T], path: Path, on_note: NoteSink) -> Iterator[_T]:
    """Yield from rosbags' `messages`; damage ends them with a note."""
    end = object()
    count = 0
    while True:
        try:
            message = guarded(lambda: next(messages, end))
        except BagError as error:
            on_note(
                f"recording {str(path)!r} is damaged after {count} frames ({error}): "
                "what comes before was read"
            )
            return
        if message is end:
            return
        count += 1
        yield message  # type: ignore[misc]
