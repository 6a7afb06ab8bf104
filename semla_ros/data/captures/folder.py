"""The loop's half: captured frames out of a folder that may be in use, damaged or edited."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from semla_ros.core.errors import CaptureError, FrameError
from semla_ros.core.files.compressed_image import decode_file
from semla_ros.core.files.image_file import DEFAULT_MAX_PIXELS
from semla_ros.core.files.label_image import decode_labels
from semla_ros.core.types import LabelArray, UInt8Array
from semla_ros.data.captures.record import (
    IDENTITY_FILE,
    MAX_RECORD_BYTES,
    CaptureIdentity,
    CaptureRecord,
    identity_from_json,
    image_file,
    mask_file,
    read_bounded,
    record_file,
    record_from_json,
    sha256_of,
)

MAX_FRAMES = 200_000
_MAX_PICTURE_BYTES = 500_000_000
_FILE = re.compile(r"(\d{19})(\.json|\.png|\.mask\.png)")
_PARTIAL = re.compile(r"\.(\d{19}(\.json|\.png|\.mask\.png)|capture\.json)\.partial")


@dataclass(frozen=True, slots=True)
class Capture:
    """A captured frame and the folder it lies in."""

    folder: Path
    record: CaptureRecord

    @property
    def image_path(self) -> Path:
        """Where the image lies."""
        return self.folder / image_file(self.record.name)

    def image(self) -> UInt8Array:
        """Return the image, RGB (H, W, 3) uint8.

        Raises:
            CaptureError: It is gone, damaged, or not the one that was captured.
        """
        try:
            content = self._content(image_file(self.record.name))
            return decode_file(content, ".png", max_pixels=DEFAULT_MAX_PIXELS)
        except FrameError as error:
            raise CaptureError(f"capture {str(self.image_path)!r}: {error}") from error

    def mask(self) -> LabelArray:
        """Return the mask that was served, (H, W) ids into the record's classes.

        Raises:
            CaptureError: It is gone, damaged, or not the one that was captured.
        """
        name = mask_file(self.record.name)
        try:
            labels = decode_labels(self._content(name), max_pixels=DEFAULT_MAX_PIXELS)
        except FrameError as error:
            raise CaptureError(f"capture {str(self.folder / name)!r}: {error}") from error
        if labels.ndim != 2:
            raise CaptureError(
                f"capture {str(self.folder / name)!r}: expected ids, got colours: "
                "copy the captures again"
            )
        return labels

    def _content(self, name: str) -> bytes:
        path = self.folder / name
        try:
            content = read_bounded(path, max_bytes=_MAX_PICTURE_BYTES)
        except OSError as error:
            raise CaptureError(
                f"capture {str(path)!r} cannot be read ({error.strerror}): it may have been "
                "deleted to make room; run the command again"
            ) from error
        if sha256_of(content) != self.record.sha256.get(name):
            raise CaptureError(
                f"capture {str(path)!r} is not what the node wrote: copy the captures again, or "
                "remove this frame"
            )
        return content


@dataclass(frozen=True, slots=True)
class CaptureFolder:
    """What a folder of captures holds.

    Attributes:
        folder: Where.
        identity: Of the navigator.
        captures: In the order of their stamps.
        problems: Name of a frame -> why it cannot be used.
    """

    folder: Path
    identity: CaptureIdentity
    captures: tuple[Capture, ...]
    problems: dict[str, str]


def is_capture_folder(path: Path) -> bool:
    """Return whether `path` is a folder that a node captured into."""
    return (path / IDENTITY_FILE).is_file()


def read_captures(folder: Path) -> CaptureFolder:
    """Return the frames in `folder`, which a node may be writing to.

    Pictures are not opened: `Capture.image` and `Capture.mask` hold them against the record.

    Raises:
        CaptureError: It is no folder of captures, or holds too many.
    """
    identity = read_identity(folder)
    if identity is None:
        raise CaptureError(
            f"expected a folder of captures, got {str(folder)!r} without {IDENTITY_FILE}: "
            "give the folder that capture_dir named"
        )
    captures, problems = [], {}
    for name in names_in(folder)[0]:
        try:
            captures.append(Capture(folder, read_record(folder, name, dim=identity.dim)))
        except FileNotFoundError:
            continue  # deleted to make room since the folder was listed
        except (CaptureError, OSError) as error:
            problems[name] = str(error)
    return CaptureFolder(folder, identity, tuple(captures), problems)


def read_identity(folder: Path) -> CaptureIdentity | None:
    """Return whose captures a folder holds, None where it is no folder of captures (yet).

    Raises:
        CaptureError: `capture.json` is damaged.
    """
    path = folder / IDENTITY_FILE
    try:
        return identity_from_json(read_bounded(path, max_bytes=MAX_RECORD_BYTES))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CaptureError(
            f"{str(path)!r} is damaged ({error}): move the folder away, or choose another"
        ) from error


def read_record(folder: Path, name: str, *, dim: int) -> CaptureRecord:
    """Return the record of frame `name`.

    Raises:
        CaptureError: It is damaged, edited, or lacks its pictures.
        OSError: It cannot be read.
    """
    path = folder / record_file(name)
    try:
        record = record_from_json(read_bounded(path, max_bytes=MAX_RECORD_BYTES))
    except ValueError as error:
        raise CaptureError(f"capture {str(path)!r} is damaged ({error}): remove it") from error
    if record.name != name or len(record.embedding) != dim:
        raise CaptureError(
            f"capture {str(path)!r}: expected stamp {name} and {dim} numbers of embedding, got "
            f"{record.name} and {len(record.embedding)}: remove it"
        )
    for each in (image_file(name), mask_file(name)):
        if each not in record.sha256 or not (folder / each).is_file():
            if not path.exists():
                raise FileNotFoundError(path)
            raise CaptureError(f"capture {str(path)!r} lacks {each}: remove it")
    return record


def names_in(folder: Path) -> tuple[list[str], list[Path]]:
    """Return the frames that have a record, by stamp, and the files of frames that have none.

    Raises:
        CaptureError: The folder cannot be read, or holds more than `MAX_FRAMES` frames.
    """
    found: dict[str, list[str]] = {}
    partial = []
    try:
        for name in _listed(folder):
            if match := _FILE.fullmatch(name):
                found.setdefault(match[1], []).append(name)
            elif _PARTIAL.fullmatch(name):
                partial.append(folder / name)
    except OSError as error:
        raise CaptureError(f"cannot read {str(folder)!r}: {error.strerror}") from error
    if len(found) > MAX_FRAMES:
        raise CaptureError(
            f"expected at most {MAX_FRAMES} captures in {str(folder)!r}, got {len(found)}: move "
            f"some, each with its three files, to another folder that has {IDENTITY_FILE}, too"
        )
    whole = sorted(name for name, files in found.items() if record_file(name) in files)
    known = set(whole)
    orphans = [folder / f for name, files in found.items() if name not in known for f in files]
    return whole, sorted(partial + orphans)


def _listed(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry.name
