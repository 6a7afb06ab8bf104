"""Where a domain's images come from: folders, single files, recordings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Protocol

from semla_ros.core.errors import BagError, FrameError, LibraryError
from semla_ros.core.files.folder_walk import files_below
from semla_ros.core.files.image_codec import FULL_BITS
from semla_ros.core.files.image_file import read_image
from semla_ros.core.types import UInt8Array
from semla_ros.data.bags.opening import METADATA, is_recording
from semla_ros.data.bags.reader import ImageTopic, SkippedFrame, choose_topic, read_frames

_PATTERNS: tuple[tuple[str, ...], ...] = ((".png",), (".jpg", ".jpeg"))


@dataclass(frozen=True, slots=True)
class SourceImage:
    """One image of a source.

    Attributes:
        index: Its place in the source, from 0.
        name: What people know it by.
        rgb: (H, W, 3) uint8, None where it cannot be read.
        reason: Why it cannot be read, else empty.
    """

    index: int
    name: str
    rgb: UInt8Array | None
    reason: str = ""


class ImageSource(Protocol):
    """A list of images with an order that never changes."""

    @property
    def total(self) -> int:
        """Number of images, as far as it is known before reading."""
        ...

    @property
    def lengths(self) -> tuple[int, ...]:
        """Number of images of each recording or folder, in order; `total` in all."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes with any file, its size or time, and with the choice among its images."""
        ...

    def images(self, wanted: Callable[[int], bool]) -> Iterator[SourceImage]:
        """Yield the images whose index is wanted, in order; unreadable ones with a reason."""
        ...


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How sources are read.

    Attributes:
        topic: Image topic of recordings; None takes the only one.
        every: Take every so many images.
        recursive: Look into the folders of a folder as well.
        max_pixels: Larger images are not read.
        significant_bits: See `image_codec.decode_raw`.
    """

    topic: str | None = None
    every: int = 1
    recursive: bool = False
    max_pixels: int = 100_000_000
    significant_bits: int = FULL_BITS

    @property
    def reading(self) -> list[int]:
        """What changes the pixels of the same files; empty where nothing was chosen."""
        return [] if self.significant_bits == FULL_BITS else [self.significant_bits]


def open_sources(paths: Sequence[Path], options: SourceOptions) -> ImageSource:
    """Return the images of all `paths`, one after the other.

    Raises:
        LibraryError: Nothing there, or a folder without images.
        BagError: A recording without a single image topic.
    """
    if options.every < 1:
        raise LibraryError(f"expected --every of at least 1, got {options.every!r}")
    if not paths:
        raise LibraryError("expected at least one folder of images or recording, got none")
    return _Chain(tuple(_open(path, options) for path in paths))


def list_images(folder: Path, *, recursive: bool = False) -> list[Path]:
    """Return the images in `folder` as SemLA orders them: sorted *.png, then sorted *.jpg."""
    walk = files_below(folder) if recursive else folder.iterdir()
    files = sorted(p for p in walk if p.is_file() and not p.name.startswith("."))
    return [p for suffixes in _PATTERNS for p in files if p.suffix.lower() in suffixes]


def _open(path: Path, options: SourceOptions) -> ImageSource:
    is_bag = is_recording(path) or path.suffix == ".active" or (path / METADATA).is_file()
    if is_bag and path.exists():
        return BagImages(path, choose_topic(path, options.topic), options)
    if path.is_file():
        return FileImages((path,), options)
    if not path.is_dir():
        raise LibraryError(
            f"expected a folder of images, an image or a recording, got {str(path)!r}: not there"
        )
    files = list_images(path, recursive=options.recursive)
    if files:
        return FileImages(tuple(files[:: options.every]), options)
    if any(is_recording(p) for p in path.iterdir()):
        return BagImages(path, choose_topic(path, options.topic), options)
    hint = "" if options.recursive else " (--recursive looks into its folders)"
    raise LibraryError(
        f"expected *.png or *.jpg or a recording in {str(path)!r}, found none{hint}"
    )


@dataclass(frozen=True, slots=True)
class FileImages:
    """Image files."""

    paths: tuple[Path, ...]
    options: SourceOptions

    @property
    def total(self) -> int:
        """Number of files."""
        return len(self.paths)

    @property
    def lengths(self) -> tuple[int, ...]:
        """One folder."""
        return (self.total,)

    @property
    def fingerprint(self) -> str:
        """Changes with any file."""
        return _digest([_stamp(path) for path in self.paths] + self.options.reading)

    def images(self, wanted: Callable[[int], bool]) -> Iterator[SourceImage]:
        """Yield the wanted images."""
        for index, path in enumerate(self.paths):
            if not wanted(index):
                continue
            try:
                bits = self.options.significant_bits
                rgb = read_image(path, max_pixels=self.options.max_pixels, significant_bits=bits)
            except FrameError as error:
                yield SourceImage(index, path.name, None, str(error))
            else:
                yield SourceImage(index, path.name, rgb)


@dataclass(frozen=True, slots=True)
class BagImages:
    """Every so many frames of one image topic of a recording."""

    path: Path
    topic: ImageTopic
    options: SourceOptions

    @property
    def total(self) -> int:
        """Number of frames that will be taken, by the recording's own count."""
        return -(-self.topic.count // self.options.every)

    @property
    def lengths(self) -> tuple[int, ...]:
        """One recording."""
        return (self.total,)

    @property
    def fingerprint(self) -> str:
        """Changes with the recording's files, the topic and the choice of frames."""
        files = sorted(self.path.rglob("*")) if self.path.is_dir() else [self.path]
        stamps = [_stamp(path) for path in files if path.is_file()]
        return _digest([stamps, self.topic.name, self.options.every, *self.options.reading])

    def images(self, wanted: Callable[[int], bool]) -> Iterator[SourceImage]:
        """Yield the wanted frames; a damaged recording ends early with a warning."""

        def keep(number: int) -> bool:
            place, rest = divmod(number, self.options.every)
            return rest == 0 and wanted(place)

        frames = read_frames(
            self.path,
            topic=self.topic.name,
            max_pixels=self.options.max_pixels,
            significant_bits=self.options.significant_bits,
            keep=keep,
        )
        numbers = filter(keep, count())
        for frame, number in zip(frames, numbers, strict=False):
            index, name = number // self.options.every, f"{self.path.name}#{number}"
            if isinstance(frame, SkippedFrame):
                yield SourceImage(index, name, None, frame.reason)
            else:
                yield SourceImage(index, name, frame.rgb)


@dataclass(frozen=True, slots=True)
class _Chain:
    """Several sources in a row; a recording keeps the places its own count promises."""

    parts: tuple[ImageSource, ...]

    @property
    def total(self) -> int:
        """Sum of the parts."""
        return sum(self.lengths)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Each part's."""
        return tuple(part.total for part in self.parts)

    @property
    def fingerprint(self) -> str:
        """Changes with any part."""
        return _digest([part.fingerprint for part in self.parts])

    def images(self, wanted: Callable[[int], bool]) -> Iterator[SourceImage]:
        """Yield the wanted images of all parts."""
        start = 0
        for part in self.parts:
            bounded = partial(_wanted, wanted=wanted, start=start, total=part.total)
            for image in part.images(bounded):
                yield replace(image, index=start + image.index)
            start += part.total


def _wanted(index: int, *, wanted: Callable[[int], bool], start: int, total: int) -> bool:
    return index < total and wanted(start + index)


def _stamp(path: Path) -> list[object]:
    try:
        status = path.stat()
    except OSError as error:
        raise BagError(f"{str(path)!r} cannot be read: {error.strerror}") from error
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
