"""Camera frames out of recordings: rosbag2 (mcap, sqlite3) and ROS 1 bags, no ROS needed.

Image messages have been the same since ROS 1, so they are read with known definitions: a bag
whose other topics are exotic or damaged still gives its frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rosbags.typesys import Stores, get_typestore

from semla_ros.bags.recording import (
    COMPRESSED,
    ImageTopic,
    NoteSink,
    StoredMessage,
    choose_topic,
    guarded,
    image_topics,
    log_note,
    stored_messages,
)
from semla_ros.config import PARAMETERS
from semla_ros.errors import BagError, FrameError
from semla_ros.image_codec import decode_compressed, decode_raw
from semla_ros.types import Frame, UInt8Array

__all__ = ["ImageTopic", "SkippedFrame", "choose_topic", "image_topics", "read_frames"]

DEFAULT_MAX_PIXELS = int(PARAMETERS["max_pixels"].default)


@dataclass(frozen=True, slots=True)
class SkippedFrame:
    """A message of the camera stream that is no usable image, and why."""

    stamp_ns: int
    reason: str


def read_frames(
    path: Path,
    *,
    topic: str | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    keep: Callable[[int], bool] | None = None,
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
        keep: Called with each message's number, from 0; those it denies are passed over without
            being decoded. None keeps all.
        on_note: Gets one line for each thing a reader of the results should know.

    Raises:
        BagError: No recording, or no single image topic; at the first `next`.
    """
    chosen = choose_topic(path, topic, on_note=on_note)
    decoder = _Decoder(chosen, max_pixels, on_note)
    for number, message in enumerate(stored_messages(path, chosen, on_note=on_note)):
        if keep is None or keep(number):
            yield decoder.decode(message)


class _Decoder:
    """Turns serialized image messages into frames; tells once where header stamps are missing."""

    def __init__(self, topic: ImageTopic, max_pixels: int, on_note: NoteSink) -> None:
        self._topic = topic
        self._max_pixels = max_pixels
        self._on_note = on_note
        self._told = False
        self._ros2_types = get_typestore(Stores.LATEST)
        self._ros1_types = get_typestore(Stores.ROS1_NOETIC)

    def decode(self, stored: StoredMessage) -> Frame | SkippedFrame:
        """Return the frame, or why there is none."""
        parse = (
            self._ros1_types.deserialize_ros1 if stored.ros1 else self._ros2_types.deserialize_cdr
        )
        try:
            message: Any = guarded(lambda: parse(stored.data, stored.msgtype))
        except BagError as error:
            return SkippedFrame(stored.recorded_ns, f"message cannot be parsed: {error}")
        stamp_ns = self._stamp(message.header.stamp, stored.recorded_ns)
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

    def _rgb(self, message: Any) -> UInt8Array:  # noqa: ANN401  made by rosbags
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
