"""Camera frames out of recordings: rosbag2 (mcap, sqlite3) and ROS 1 bags, no ROS needed.

Image messages have been the same since ROS 1, so they are read with known definitions: a bag
whose other topics are exotic or damaged still gives its frames.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rosbags.rosbag1 import Reader as Ros1Reader
from rosbags.rosbag2 import Reader as Ros2Reader
from rosbags.typesys import Stores, get_typestore

from semla_ros.bags.mcap_mend import MendedMcap, is_whole
from semla_ros.bags.sqlite_mend import MendedSqlite
from semla_ros.errors import BagError, FrameError
from semla_ros.image_codec import decode_compressed, decode_raw
from semla_ros.types import Frame

RAW = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
STORAGE_SUFFIXES = (".mcap", ".db3", ".bag")
DEFAULT_MAX_PIXELS = 33_177_600

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
class SkippedFrame:
    """A message of the camera stream that is no usable image, and why."""

    stamp_ns: int
    reason: str


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


def choose_topic(path: Path, topic: str | None, *, on_note: NoteSink = log_note) -> ImageTopic:
    """Return the image topic called `topic`, or the only one that holds messages.

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
    filled = [t for t in found if t.count]
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


def read_frames(
    path: Path,
    *,
    topic: str | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    on_note: NoteSink = log_note,
) -> Iterator[Frame | SkippedFrame]:
    """Yield the frames of one image topic in recorded order.

    The stamp is the header's; where that is zero, the time of recording. A malformed message
    becomes a `SkippedFrame`; a damaged recording ends the iteration with a note, after all that
    could be read.

    Args:
        path: As for `image_topics`.
        topic: The image topic; None takes the only one.
        max_pixels: Larger images are skipped before memory is allocated.
        on_note: Gets one line for each thing a reader of the results should know.

    Raises:
        BagError: No recording, or no single image topic; at the first `next`.
    """
    chosen = choose_topic(path, topic, on_note=on_note)
    decoder = _Decoder(chosen, max_pixels, on_note)
    with ExitStack() as stack:
        for reader in _open_readers(path, stack, lambda _: None):
            wanted = [
                c
                for c in reader.connections
                if (c.topic, c.msgtype) == (chosen.name, chosen.msgtype)
            ]
            if not wanted:
                continue
            decoder.ros1 = isinstance(reader, Ros1Reader)
            messages = _until_damage(reader.messages(connections=wanted), path, on_note)
            for _, recorded_ns, data in messages:
                yield decoder.decode(data, recorded_ns)


class _Decoder:
    """Turns serialized image messages into frames; tells once where header stamps are missing."""

    def __init__(self, topic: ImageTopic, max_pixels: int, on_note: NoteSink) -> None:
        self.ros1 = False
        self._topic = topic
        self._max_pixels = max_pixels
        self._on_note = on_note
        self._told = False
        self._ros2_types = get_typestore(Stores.LATEST)
        self._ros1_types = get_typestore(Stores.ROS1_NOETIC)

    def decode(self, data: bytes, recorded_ns: int) -> Frame | SkippedFrame:
        """Return the frame, or why there is none."""
        parse = (
            self._ros1_types.deserialize_ros1 if self.ros1 else self._ros2_types.deserialize_cdr
        )
        try:
            message: Any = _guarded(lambda: parse(data, self._topic.msgtype))
        except BagError as error:
            return SkippedFrame(recorded_ns, f"message cannot be parsed: {error}")
        stamp_ns = self._stamp(message.header.stamp, recorded_ns)
        try:
            return Frame(stamp_ns, str(message.header.frame_id), self._rgb(message))
        except FrameError as error:
            return SkippedFrame(stamp_ns, str(error))

    def _stamp(self, stamp: Any, recorded_ns: int) -> int:  # noqa: ANN401  made by rosbags
        stamp_ns = int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
        if stamp_ns:
            return stamp_ns
        if not self._told:
            self._told = True
            self._on_note(
                f"topic {self._topic.name!r} has empty header stamps: "
                "the time of recording is used instead"
            )
        return recorded_ns

    def _rgb(self, message: Any) -> Any:  # noqa: ANN401  made by rosbags
        if self._topic.msgtype == COMPRESSED:
            return decode_compressed(message.data, message.format, max_pixels=self._max_pixels)
        return decode_raw(
            message.data,
            height=int(message.height),
            width=int(message.width),
            encoding=str(message.encoding),
            step=int(message.step),
            is_bigendian=bool(message.is_bigendian),
            max_pixels=self._max_pixels,
        )


def _guarded(call: Callable[[], _T]) -> _T:
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
            message = _guarded(lambda: next(messages, end))
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
    _guarded(reader.open)
    stack.callback(reader.close)
    return reader


def _natural(path: Path) -> list[tuple[int, str]]:
    """Return a sort key by which part_10 comes after part_9."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(p), "") if p.isdigit() else (-1, p) for p in parts]
