"""Camera frames out of recordings: rosbag2 (mcap, sqlite3) and ROS 1 bags, no ROS needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semla_ros.core.errors import BagError, FrameError
from semla_ros.core.files.compressed_image import decode_compressed
from semla_ros.core.files.image_codec import FULL_BITS, dark_note, decode_image
from semla_ros.core.files.image_file import DEFAULT_MAX_PIXELS
from semla_ros.core.types import Frame, UInt8Array
from semla_ros.data.bags.image_messages import decoded
from semla_ros.data.bags.opening import NoteSink
from semla_ros.data.bags.recording import (
    COMPRESSED,
    ImageTopic,
    StoredMessage,
    choose_topic,
    image_topics,
    log_note,
    stored_messages,
)
from semla_ros.data.bags.topics import MAX_STAMP_NS, sound_stamp_ns

__all__ = ["ImageTopic", "SkippedFrame", "choose_topic", "image_topics", "read_frames"]


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
    significant_bits: int = FULL_BITS,
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
        significant_bits: See `decode_raw`.
        keep: Called with each message's number, from 0; those it denies are passed over without
            being decoded. None keeps all.
        on_note: Gets one line for each thing a reader of the results should know.

    Raises:
        BagError: No recording, or no single image topic; at the first `next`.
    """
    chosen = choose_topic(path, topic, on_note=on_note)
    decoder = _Decoder(chosen, max_pixels, significant_bits, on_note)
    for number, message in enumerate(stored_messages(path, chosen, on_note=on_note)):
        if keep is None or keep(number):
            yield decoder.decode(message)


class _Decoder:
    """Turns serialized image messages into frames; tells once where header stamps are missing."""

    def __init__(
        self, topic: ImageTopic, max_pixels: int, significant_bits: int, on_note: NoteSink
    ) -> None:
        self._topic = topic
        self._bounds = {"max_pixels": max_pixels, "significant_bits": significant_bits}
        self._on_note = on_note
        self._told = False
        self._told_dark = False

    def decode(self, stored: StoredMessage) -> Frame | SkippedFrame:
        """Return the frame, or why there is none."""
        try:
            message = decoded(stored.data, stored.msgtype, ros1=stored.ros1)
        except BagError as error:
            return SkippedFrame(stored.recorded_ns, f"message cannot be parsed: {error}")
        try:
            stamp = sound_stamp_ns(message) or self._recorded(stored.recorded_ns)
        except BagError as error:
            return SkippedFrame(max(0, stored.recorded_ns), str(error))
        try:
            rgb = self._rgb(message)
        except FrameError as error:
            return SkippedFrame(stamp, str(error))
        return Frame(stamp, str(message.header.frame_id), rgb, stored.recorded_ns)

    def _rgb(self, message: Any) -> UInt8Array:  # noqa: ANN401  made by rosbags
        if self._topic.msgtype == COMPRESSED:
            encoding = str(message.format)
            rgb = decode_compressed(message.data, encoding, **self._bounds)
        else:
            encoding = str(message.encoding)
            rgb = decode_image(message, **self._bounds)
        if not self._told_dark:
            note = dark_note(rgb, encoding, self._bounds["significant_bits"])
            if note:
                self._told_dark = True
                self._on_note(f"topic {self._topic.name!r}: {note}")
        return rgb

    def _recorded(self, recorded_ns: int) -> int:
        if not 0 <= recorded_ns < MAX_STAMP_NS:
            raise BagError(
                f"its header stamp is empty and its time of recording is none: {recorded_ns} ns"
            )
        if not self._told:
            self._told = True
            self._on_note(
                f"topic {self._topic.name!r} has empty header stamps: "
                "the time of recording is used instead"
            )
        return recorded_ns
