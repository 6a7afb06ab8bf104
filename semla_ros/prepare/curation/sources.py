"""Where a domain's images come from: folders, single files, recordings and videos in a row."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from semla_ros.core.errors import BagError, LibraryError
from semla_ros.core.files.folder_walk import files_below
from semla_ros.core.files.image_codec import FULL_BITS
from semla_ros.data.bags.opening import holds_recording
from semla_ros.data.inputs import (
    IMAGE_SUFFIXES,
    FolderInput,
    Input,
    InputFrame,
    InputOptions,
    open_input,
)

MAX_PIXELS = 100_000_000
"""Larger images are not read."""

_PATTERNS: tuple[tuple[str, ...], ...] = ((".png",), (".jpg", ".jpeg"))
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How sources are read.

    Attributes:
        topic: Image topic of recordings; None takes the only one.
        every: Take every so many images of each source.
        recursive: Look into the folders of a folder as well.
        significant_bits: See `image_codec.decode_raw`.
    """

    topic: str | None = None
    every: int = 1
    recursive: bool = False
    significant_bits: int = FULL_BITS

    @property
    def reading(self) -> InputOptions:
        """How each source is read."""
        return InputOptions(
            self.topic, max_pixels=MAX_PIXELS, significant_bits=self.significant_bits
        )


@dataclass(frozen=True, slots=True)
class Sources:
    """Every so many images of several sources in a row; the order never changes.

    Attributes:
        paths: The sources.
        parts: Their images; a recording keeps the places that its own count promises.
        options: How they are read.
    """

    paths: tuple[Path, ...]
    parts: tuple[Input, ...]
    options: SourceOptions

    @property
    def lengths(self) -> tuple[int, ...]:
        """Number of images taken of each source, as far as it is known before reading."""
        return tuple(-(-part.count // self.options.every) for part in self.parts)

    @property
    def fingerprint(self) -> str:
        """Changes with any file, its size or time, and with the choice among its images."""
        files = [[part.topic, *(_stamp(file) for file in part.files)] for part in self.parts]
        chosen = [self.options.every, self.options.significant_bits]
        return hashlib.sha256(json.dumps([files, chosen]).encode()).hexdigest()

    def images(self, wanted: Callable[[int], bool]) -> Iterator[InputFrame]:
        """Yield the images whose place among all is wanted, in order, under the file's name.

        Those that cannot be read have a reason; a damaged recording ends early with a warning.
        """
        every, start = self.options.every, 0
        for path, part, length in zip(self.paths, self.parts, self.lengths, strict=True):

            def keep(index: int, start: int = start, length: int = length) -> bool:
                place, rest = divmod(index, every)
                return rest == 0 and place < length and wanted(start + place)

            for item in part.read(on_note=_LOG.warning, keep=keep):
                name = _name(path, part, item.index)
                yield replace(item, index=start + item.index // every, name=name)
            start += length


def open_sources(paths: Sequence[Path], options: SourceOptions) -> Sources:
    """Return the images of all `paths`, one after the other.

    Raises:
        LibraryError: No paths, a folder without images, or a source that says of no images.
        EvaluationError: Nothing there, or nothing that has frames.
        BagError: A recording without a single image topic.
    """
    if options.every < 1:
        raise LibraryError(f"expected --every of at least 1, got {options.every!r}")
    if not paths:
        raise LibraryError("expected at least one folder of images or recording, got none")
    parts = tuple(_open(path, options) for path in paths)
    for path, part in zip(paths, parts, strict=True):
        if part.count < 1:
            raise LibraryError(
                f"{str(path)!r}: expected images and their number, got none: damaged, or a video "
                "that does not say how many frames it has; give its frames as images"
            )
    return Sources(tuple(paths), parts, options)


def list_images(folder: Path, *, recursive: bool = False) -> list[Path]:
    """Return the images in `folder` as SemLA orders them: sorted *.png, then sorted *.jpg."""
    walk = files_below(folder) if recursive else folder.iterdir()
    files = sorted(p for p in walk if p.is_file() and not p.name.startswith("."))
    return [p for suffixes in _PATTERNS for p in files if p.suffix.lower() in suffixes]


def _open(path: Path, options: SourceOptions) -> Input:
    if path.is_file() and path.suffix.lower() in (*IMAGE_SUFFIXES, ".webp"):
        return FolderInput((path,), options.reading)
    if path.is_dir() and not holds_recording(path):
        if files := list_images(path, recursive=options.recursive):
            return FolderInput(tuple(files), options.reading)
        hint = "" if options.recursive else " (--recursive looks into its folders)"
        raise LibraryError(
            f"expected *.png or *.jpg or a recording in {str(path)!r}, found none{hint}"
        )
    return open_input(path, options.reading)


def _name(path: Path, part: Input, index: int) -> str:
    """Return what people know an image by: its file, or the recording and a number."""
    return part.files[index].name if isinstance(part, FolderInput) else f"{path.name}#{index}"


def _stamp(path: Path) -> list[object]:
    try:
        status = path.stat()
    except OSError as error:
        raise BagError(f"{str(path)!r} cannot be read: {error.strerror}") from error
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]
