"""What can be evaluated: recordings, folders of images, videos, all as frames with a name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from semla_ros.core.errors import EvaluationError, FrameError
from semla_ros.core.files.folder_walk import files_below
from semla_ros.core.files.image_codec import FULL_BITS, dark_note
from semla_ros.core.files.image_file import read_bytes, read_image
from semla_ros.core.files.image_headers import PNG_SIGNATURE
from semla_ros.core.shown import native_path
from semla_ros.core.types import Frame, UInt8Array
from semla_ros.data.bags.opening import (
    STORAGE_SUFFIXES,
    NoteSink,
    holds_recording,
    is_recording,
    natural,
)
from semla_ros.data.bags.reader import SkippedFrame, choose_topic, read_frames
from semla_ros.data.labels.label_folder import stamp_of

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
DEFAULT_FPS = 10.0
_DEPTH_AT = 24
"""Place of the bits of a channel in a PNG."""
Keep = Callable[[int], bool]


@dataclass(frozen=True, slots=True)
class InputFrame:
    """One frame of an input.

    Attributes:
        index: Its place in the input, from 0, frames that cannot be used counted too.
        name: The file's name without suffix, or the number of a video's frame; "" in recordings.
        frame: The image; None if it cannot be used.
        stamp_ns: Sensor time.
        reason: Why it cannot be used.
    """

    index: int
    name: str
    frame: Frame | None
    stamp_ns: int
    reason: str = ""


class Input(Protocol):
    """Frames in an order that never changes."""

    @property
    def topic(self) -> str:
        """The image topic; empty where there is none."""
        ...

    @property
    def count(self) -> int:
        """How many frames to expect; 0 if unknown."""
        ...

    @property
    def files(self) -> tuple[Path, ...]:
        """The files behind it: while they stay the same, so do the frames."""
        ...

    def read(self, *, on_note: NoteSink, keep: Keep | None = None) -> Iterator[InputFrame]:
        """Yield the frames whose index is kept; notes about damage go to `on_note`."""
        ...


@dataclass(frozen=True, slots=True)
class InputOptions:
    """How inputs are read.

    Attributes:
        topic: Image topic of recordings; None takes the only one.
        fps: Frame rate of folders whose names are no stamps, and of videos that know none.
        max_pixels: Larger images are skipped before memory is allocated.
        except_topic: Never the camera: the topic of the labels.
        significant_bits: See `decode_raw`.
    """

    topic: str | None = None
    fps: float = DEFAULT_FPS
    max_pixels: int = 33_177_600
    except_topic: str = ""
    significant_bits: int = FULL_BITS

    def __post_init__(self) -> None:
        if not 0 < self.fps <= 1000:
            raise EvaluationError(f"expected frames per second in (0, 1000], got {self.fps!r}")


def open_input(path: Path, options: InputOptions) -> Input:
    """Return the frames at `path`, its kind told by what lies there.

    Raises:
        EvaluationError: Nothing there, or nothing that has frames.
        BagError: A recording without a single image topic.
    """
    if not path.exists():
        raise EvaluationError(f"expected an input at {str(path)!r}, found nothing: check the path")
    if path.is_file():
        if path.suffix.lower() in VIDEO_SUFFIXES:
            return _open_video(path, options)
        if is_recording(path) or path.suffix == ".active":
            return _open_bag(path, options)
        raise EvaluationError(
            f"expected a recording ({', '.join(STORAGE_SUFFIXES)}), a video "
            f"({', '.join(VIDEO_SUFFIXES)}) or a folder, got {str(path)!r}"
        )
    if holds_recording(path):
        return _open_bag(path, options)
    return _open_folder(path, options)


@dataclass(frozen=True, slots=True)
class BagInput:
    """One image topic of a recording."""

    path: Path
    topic: str
    count: int
    options: InputOptions

    @property
    def files(self) -> tuple[Path, ...]:
        """The recording's files."""
        if self.path.is_file():
            return (self.path,)
        return tuple(sorted(p for p in self.path.iterdir() if p.is_file()))

    def read(self, *, on_note: NoteSink, keep: Keep | None = None) -> Iterator[InputFrame]:
        """Yield the frames that are kept."""
        frames = read_frames(
            self.path,
            topic=self.topic,
            max_pixels=self.options.max_pixels,
            significant_bits=self.options.significant_bits,
            keep=keep,
            on_note=on_note,
        )
        for item, index in zip(frames, filter(keep or _all, count()), strict=False):
            if isinstance(item, SkippedFrame):
                yield InputFrame(index, "", None, item.stamp_ns, item.reason)
            else:
                yield InputFrame(index, "", item, item.stamp_ns)


@dataclass(frozen=True, slots=True)
class FolderInput:
    """The images of a folder and everything below, by name; numbers count by value.

    Attributes:
        note: What a reader of the results should know about the choice of files; "" nothing.
    """

    files: tuple[Path, ...]
    options: InputOptions
    topic: str = ""
    note: str = ""

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self.files)

    def read(self, *, on_note: NoteSink, keep: Keep | None = None) -> Iterator[InputFrame]:
        """Yield the images that are kept; unreadable ones with a reason."""
        bits = self.options.significant_bits
        if self.note:
            on_note(self.note)
        told = False
        for index in filter(keep or _all, range(len(self.files))):
            file = self.files[index]
            named = stamp_of(file.stem)
            stamp_ns = _stamp_at(index, self.options.fps) if named is None else named
            try:
                rgb = read_image(file, max_pixels=self.options.max_pixels, significant_bits=bits)
                note = "" if told else _dark_note(rgb, file, bits)
            except FrameError as error:
                yield InputFrame(index, file.stem, None, stamp_ns, str(error))
                continue
            if note:
                told = True
                on_note(f"image {str(file)!r}: {note}")
            yield InputFrame(index, file.stem, Frame(stamp_ns, "", rgb), stamp_ns)


@dataclass(frozen=True, slots=True)
class VideoInput:
    """The frames of a video that OpenCV can read."""

    path: Path
    count: int
    fps: float
    topic: str = ""

    @property
    def files(self) -> tuple[Path, ...]:
        """The video."""
        return (self.path,)

    def read(self, *, on_note: NoteSink, keep: Keep | None = None) -> Iterator[InputFrame]:
        """Yield the frames that are kept."""
        with native_path(self.path) as name:
            video = cv2.VideoCapture(name)
        index = 0
        try:
            while video.grab():
                if keep is None or keep(index):
                    yield self._frame(video, index)
                index += 1
        finally:
            video.release()
        if index < self.count:
            on_note(f"video {str(self.path)!r} ends after {index} of {self.count} frames")

    def _frame(self, video: cv2.VideoCapture, index: int) -> InputFrame:
        name, stamp_ns = f"{index:06d}", _stamp_at(index, self.fps)
        done, image = video.retrieve()
        if not done or image is None or image.ndim != 3:
            return InputFrame(index, name, None, stamp_ns, "the frame cannot be decoded")
        rgb = np.ascontiguousarray(image[..., 2::-1], dtype=np.uint8)
        return InputFrame(index, name, Frame(stamp_ns, "", rgb), stamp_ns)


def _open_bag(path: Path, options: InputOptions) -> BagInput:
    but = frozenset({options.except_topic})
    chosen = choose_topic(path, options.topic, on_note=unheard, but=but)
    return BagInput(path, chosen.name, chosen.count, options)


def _open_folder(path: Path, options: InputOptions) -> FolderInput:
    found = (p for p in files_below(path) if p.suffix.lower() in IMAGE_SUFFIXES)
    files = tuple(sorted(found, key=lambda p: natural(p.relative_to(path).as_posix())))
    if not files:
        raise EvaluationError(
            f"expected a recording or images ({', '.join(IMAGE_SUFFIXES)}) in {str(path)!r}, "
            "found none"
        )
    return FolderInput(files, options)


def _open_video(path: Path, options: InputOptions) -> VideoInput:
    with native_path(path) as name:
        video = cv2.VideoCapture(name)
    try:
        height = int(video.get(cv2.CAP_PROP_FRAME_HEIGHT))
        width = int(video.get(cv2.CAP_PROP_FRAME_WIDTH))
        frames, fps = int(video.get(cv2.CAP_PROP_FRAME_COUNT)), video.get(cv2.CAP_PROP_FPS)
    finally:
        video.release()
    if min(height, width) < 1 or height * width > options.max_pixels:
        raise EvaluationError(
            f"expected a video of 1 to {options.max_pixels} pixels a frame, got {str(path)!r} "
            f"of {width} x {height}: damaged, or a codec that OpenCV lacks"
        )
    known = fps if np.isfinite(fps) and 0 < fps <= 1000 else options.fps
    return VideoInput(path, max(frames, 0), known)


def _dark_note(rgb: UInt8Array, file: Path, significant_bits: int) -> str:
    """Return `dark_note` of an image read from `file`, "" unless that is a PNG of 16 bits."""
    note = dark_note(rgb, "16-bit PNG", significant_bits) if file.suffix.lower() == ".png" else ""
    head = read_bytes(file)[: _DEPTH_AT + 1] if note else b""
    return note if head.startswith(PNG_SIGNATURE) and head[_DEPTH_AT] == 16 else ""


def _stamp_at(index: int, fps: float) -> int:
    return round(index * 1e9 / fps)


def _all(_index: int) -> bool:
    return True


def unheard(_note: str) -> None:
    """Drop a note that reading the frames gives, or has given, elsewhere."""
