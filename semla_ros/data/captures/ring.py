"""The node's half: a folder of frames that stays within its bounds, whatever ends the process."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semla_ros.core.errors import CaptureError
from semla_ros.core.files.lock import locked
from semla_ros.core.files.whole_file import write_file
from semla_ros.core.timing import wall_ns
from semla_ros.core.types import Float32Array
from semla_ros.data.captures.folder import MAX_FRAMES, names_in, read_identity, read_record
from semla_ros.data.captures.record import (
    IDENTITY_FILE,
    LOCK_FILE,
    CaptureIdentity,
    CaptureRecord,
    image_file,
    mask_file,
    record_file,
)


@dataclass(frozen=True, slots=True)
class CaptureLimits:
    """The bounds of a ring.

    Attributes:
        max_bytes: Of all files of frames together.
        max_age_s: Frames that were kept longer ago are deleted; 0: never.
        spread: Least distance of the embedding to that of every frame that is kept, as a share of
            its own length.
        max_frames: How many, which is what the folder can be opened with again.
    """

    max_bytes: int
    max_age_s: float
    spread: float
    max_frames: int = MAX_FRAMES


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    captured_ns: int
    nbytes: int


class CaptureRing:
    """Frames in one folder, the oldest deleted when new ones need the room; one thread uses it.

    Attributes:
        folder: Where.
        nbytes: What the frames take.
    """

    def __init__(self, folder: Path, identity: CaptureIdentity) -> None:
        """Take over `folder`, made where missing, and delete what a killed process left half done.

        Raises:
            CaptureError: It cannot be written, is of another navigator, or another process uses
                it.
        """
        self.folder = folder
        self.nbytes = 0
        self._identity = identity
        self._entries: deque[_Entry] = deque()
        self._rows: Float32Array = np.empty((0, identity.dim), np.float32)
        self._first = 0
        self._held = ExitStack()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CaptureError(
                f"cannot make the capture folder {str(folder)!r}: {error.strerror}"
            ) from error
        what = f"the capture folder {str(folder)!r}"
        self._held.enter_context(locked(folder / LOCK_FILE, error=CaptureError, what=what))
        try:
            self._take_over()
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._entries)

    def close(self) -> None:
        """Let others use the folder."""
        self._held.close()

    def is_new(self, name: str, embedding: Float32Array, limits: CaptureLimits) -> bool:
        """Return whether a frame is unlike all that are kept, and not one of them."""
        if any(entry.name == name for entry in self._entries):
            return False
        away = np.linalg.norm(self._embeddings() - embedding, axis=1)
        least = limits.spread * float(np.linalg.norm(embedding))
        return bool(away.size == 0 or float(away.min()) >= least)

    def keep(
        self, record: CaptureRecord, files: Mapping[str, bytes], limits: CaptureLimits
    ) -> None:
        """Write a frame and delete the oldest ones until all fit; whole, or not at all.

        Args:
            record: Of the frame.
            files: Name -> content of image and mask.
            limits: In force now.

        Raises:
            CaptureError: It is too large for the ring, or cannot be written.
        """
        content = record.content()
        nbytes = len(content) + sum(map(len, files.values()))
        if nbytes > limits.max_bytes:
            raise CaptureError(
                f"expected frames of at most {limits.max_bytes} bytes, which is all that may be "
                f"kept, got {nbytes}: raise capture_mib"
            )
        self.tidy(limits, room_for=nbytes, frames=1)
        try:
            for name, each in files.items():
                write_file(self.folder / name, each, error=CaptureError)
            write_file(self.folder / record_file(record.name), content, error=CaptureError)
        except CaptureError:
            self._delete(record.name)
            raise
        self._add(_Entry(record.name, record.captured_ns, nbytes), record.embedding)

    def tidy(self, limits: CaptureLimits, *, room_for: int = 0, frames: int = 0) -> None:
        """Delete what is too old, and the oldest until `frames` more of `room_for` bytes fit."""
        too_old_ns = wall_ns() - round(limits.max_age_s * 1e9) if limits.max_age_s > 0 else 0
        while self._entries:
            oldest = self._entries[0]
            many = len(self) + frames > limits.max_frames
            full = many or self.nbytes + room_for > limits.max_bytes
            if oldest.captured_ns >= too_old_ns and not full:
                return
            self._delete(oldest.name)
            self._entries.popleft()
            self._first += 1
            self.nbytes -= oldest.nbytes

    def _take_over(self) -> None:
        found = read_identity(self.folder)
        if found is None:
            path = self.folder / IDENTITY_FILE
            write_file(path, self._identity.content(), error=CaptureError)
        elif found != self._identity:
            raise CaptureError(
                f"expected captures of navigator {self._identity.navigator!r}, got a folder of "
                f"{found.navigator!r}: choose another capture_dir than {str(self.folder)!r}"
            )
        whole, leftovers = names_in(self.folder)
        for path in leftovers:
            with suppress(OSError):
                path.unlink()
        for entry, embedding in sorted(map(self._entry, whole), key=lambda e: e[0].captured_ns):
            self._add(entry, embedding)

    def _entry(self, name: str) -> tuple[_Entry, Float32Array]:
        """Return a frame that is there already; a damaged one takes room and resembles nothing."""
        nbytes, changed_ns = 0, 0
        for each in (image_file(name), mask_file(name), record_file(name)):
            with suppress(OSError):
                status = (self.folder / each).lstat()
                nbytes, changed_ns = nbytes + status.st_size, status.st_mtime_ns
        try:
            record = read_record(self.folder, name, dim=self._identity.dim)
        except (CaptureError, OSError):
            unlike = np.full(self._identity.dim, np.inf, np.float32)
            return _Entry(name, changed_ns, nbytes), unlike
        return _Entry(name, record.captured_ns, nbytes), record.embedding

    def _add(self, entry: _Entry, embedding: Float32Array) -> None:
        if self._first + len(self) == len(self._rows):
            grown = np.empty((2 * len(self) + 1, self._identity.dim), np.float32)
            grown[: len(self)] = self._embeddings()
            self._rows, self._first = grown, 0
        self._rows[self._first + len(self)] = embedding
        self._entries.append(entry)
        self.nbytes += entry.nbytes

    def _embeddings(self) -> Float32Array:
        """Return those of the frames, (P, D): rows before them are free, rows after to come."""
        return self._rows[self._first : self._first + len(self)]

    def _delete(self, name: str) -> None:
        """Remove the files of a frame, its record first: without it there is no frame."""
        for each in (record_file(name), image_file(name), mask_file(name)):
            with suppress(OSError):
                (self.folder / each).unlink()
