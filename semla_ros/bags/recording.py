"""Opening recordings, whole or damaged, and finding the camera in them."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rosbags.rosbag1 import Reader as Ros1Reader
from rosbags.rosbag2 import Reader as Ros2Reader

from semla_ros.bags.mcap_mend import MendedMcap, is_whole
from semla_ros.bags.sqlite_mend import MendedSqlite
from semla_ros.errors import BagError

RAW = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
STORAGE_SUFFIXES = (".mcap", ".db3", ".bag")

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")
NoteSink = Callable[[str], None]
_AnyReader = Ros1Reader | Ros2Reader | MendedSqlite


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
        for reader in _open_readers(path, stack, on_note):
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
            f"expected messages of {RAW} or {COMPRESSED}"
        )
    raise BagError(
        f"recording {str(path)!r} has {len(filled)} image topics, choose one with --topic: "
        f"{listing}"
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
        for reader in _open_readers(path, stack, lambda _: None):
            wanted = [c for c in reader.connections if (c.topic, c.msgtype) == key]
            if not wanted:
                continue
            ros1 = isinstance(reader, Ros1Reader)
            messages = reader.messages(connections=wanted)
            for _, recorded_ns, data in _until_damage(messages, path, on_note):
                yield StoredMessage(topic.msgtype, recorded_ns, data, ros1)


def guarded(call: Callable[[], _T]) -> _T:
    """Return `call()`, a call into rosbags; whatever it raises on damaged bytes is a BagError."""
    try:
        return call()
    except BagError:
        raise
    except Exception as error:  # foreign parsers of damaged bytes raise anything
        raise BagError(f"{type(error).__name__}: {error}") from error


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


def _open_readers(path: Path, stack: ExitStack, on_note: NoteSink) -> list[_AnyReader]:
    """Return opened readers of all parts of a recording, closed by `stack`."""
    if not path.exists():
        raise BagError(f"expected a recording at {str(path)!r}, found nothing: check the path")
    if path.is_file():
        return [_open_file(path, stack, on_note)]
    files = sorted((f for f in path.iterdir() if f.suffix in STORAGE_SUFFIXES), key=_natural)
    if (path / "metadata.yaml").is_file() and all(is_whole(f) for f in files):
        try:
            return [_entered(Ros2Reader(path), stack)]
        except BagError as error:
            on_note(f"{str(path / 'metadata.yaml')!r} is unusable ({error}): reading the files")
    elif any(f.suffix != ".bag" for f in files):
        on_note(f"recording {str(path)!r} has no metadata.yaml: reading its files by name")
    if not files:
        raise BagError(
            f"folder {str(path)!r} holds no recording: expected metadata.yaml or files "
            f"ending in {', '.join(STORAGE_SUFFIXES)}"
        )
    return [_open_file(file, stack, on_note) for file in files]


def _open_file(file: Path, stack: ExitStack, on_note: NoteSink) -> _AnyReader:
    if file.suffix not in STORAGE_SUFFIXES:
        raise BagError(
            f"expected a recording ending in {', '.join(STORAGE_SUFFIXES)}, got {str(file)!r}"
        )
    try:
        if file.suffix == ".bag":
            return _entered(Ros1Reader(file), stack)
        if file.suffix == ".mcap" and not is_whole(file):
            on_note(f"recording {str(file)!r} was cut off: reading it as far as it goes")
            mended: Any = MendedMcap(file)
            return _entered(Ros2Reader(mended), stack)
        return _entered(Ros2Reader(file), stack)
    except BagError as error:
        if file.suffix == ".db3" and (mended_database := _mended_sqlite(file, stack)):
            on_note(
                f"recording {str(file)!r} is damaged ({error}): reading the rows that are left"
            )
            return mended_database
        raise BagError(
            f"recording {str(file)!r} cannot be read: {error}; copy it again or repair it "
            "(`ros2 bag reindex`, `rosbag reindex`, `mcap recover`)"
        ) from error


def _mended_sqlite(file: Path, stack: ExitStack) -> MendedSqlite | None:
    try:
        return _entered(MendedSqlite(file), stack)
    except BagError:
        return None


_Reader = TypeVar("_Reader", Ros1Reader, Ros2Reader, MendedSqlite)


def _entered(reader: _Reader, stack: ExitStack) -> _Reader:
    guarded(reader.open)
    stack.callback(reader.close)
    return reader


def _natural(path: Path) -> list[tuple[int, str]]:
    """Return a sort key by which part_10 comes after part_9."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(p), "") if p.isdigit() else (-1, p) for p in parts]
