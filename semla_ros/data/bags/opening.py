"""Opening recordings of every kind: whole, cut, packed, half copied; what is wrong is noted."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from rosbags.rosbag2 import Reader as Ros2Reader

from semla_ros.core.errors import BagError
from semla_ros.core.files.lfs_pointer import lfs_remedy_of
from semla_ros.data.bags.mcap_file import McapFile
from semla_ros.data.bags.ros1_bag import Ros1Bag
from semla_ros.data.bags.sqlite_guard import guarded_sqlite
from semla_ros.data.bags.sqlite_mend import MendedSqlite
from semla_ros.data.bags.sqlite_recovery import WAL, left_beside, recovered_copy
from semla_ros.data.bags.unpacking import PACKED, unpacked

STORAGE_SUFFIXES = (".mcap", ".db3", ".bag")
METADATA = "metadata.yaml"

_T = TypeVar("_T")
NoteSink = Callable[[str], None]
AnyReader = Ros1Bag | Ros2Reader | MendedSqlite | McapFile
_Reader = TypeVar("_Reader", Ros1Bag, Ros2Reader, MendedSqlite, McapFile)
_LISTED = re.compile(
    r"^[ \t]*-[ \t]+[\"']?([^\s\"']+\.(?:mcap|db3)(?:\.zstd)?)[\"']?[ \t\r]*$", re.MULTILINE
)
_MAX_METADATA_BYTES = 10_000_000
_ACTIVE = (
    "{path!r} is a ROS 1 recording that was never closed: `rosbag reindex {path}`, then rename it "
    "to end in .bag"
)


def open_readers(path: Path, stack: ExitStack, on_note: NoteSink) -> list[AnyReader]:
    """Return opened readers of all parts of a recording, in their order, closed by `stack`.

    Args:
        path: A rosbag2 folder, or one file of `STORAGE_SUFFIXES`, packed by zstd or not.
        stack: Closes them.
        on_note: Gets one line for each thing that is wrong but could be mended.

    Raises:
        BagError: There is no readable recording at `path`.
    """
    if not path.exists():
        raise BagError(f"expected a recording at {str(path)!r}, found nothing: check the path")
    if path.is_file():
        return [_open_file(path, stack, on_note)]
    files = _files(path, on_note)
    if not files:
        active = sorted(path.glob("*.bag.active"))
        if active:
            raise BagError(_ACTIVE.format(path=str(active[0])))
        raise BagError(
            f"folder {str(path)!r} holds no recording: expected files ending in "
            f"{', '.join(STORAGE_SUFFIXES)}, packed by zstd or not"
        )
    return [_open_file(file, stack, on_note) for file in files]


def guarded(call: Callable[[], _T]) -> _T:
    """Return `call()`, a call into rosbags; whatever it raises on damaged bytes is a BagError."""
    try:
        return call()
    except BagError:
        raise
    except Exception as error:  # foreign parsers of damaged bytes raise anything
        raise BagError(f"{type(error).__name__}: {error}") from error


def is_recording(path: Path) -> bool:
    """Return whether a file's name is that of a recording."""
    return path.name.removesuffix(PACKED).endswith(STORAGE_SUFFIXES)


def holds_recording(folder: Path) -> bool:
    """Return whether a folder is a recording, whatever else lies in it."""
    return bool(_parts(folder)) or _metadata(folder) is not None


def natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key by which `9` comes before `10`."""
    parts = re.split(r"(\d+)", name)
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in parts]


def _files(folder: Path, on_note: NoteSink) -> list[Path]:
    """Return the parts of a recording: those that metadata.yaml lists, then the others by name.

    All are read from the files themselves, so metadata that is missing or stale costs nothing.
    """
    there = _parts(folder)
    names = {f.name for f in there}
    # A packed file and the one that was unpacked from it are the same part.
    there = [f for f in there if not (f.suffix == PACKED and f.name[: -len(PACKED)] in names)]
    metadata = _metadata(folder)
    if metadata is None:
        if any(f.suffix != ".bag" for f in there):
            on_note(
                f"recording {str(folder)!r} has no metadata.yaml of rosbag2: reading its files by "
                "name"
            )
        return there
    listed = list(dict.fromkeys(Path(name).name for name in _LISTED.findall(metadata)))
    missing = [n for n in listed if not names & {n, n.removesuffix(PACKED), n + PACKED}]
    if missing:
        on_note(
            f"recording {str(folder)!r} lacks {', '.join(map(repr, missing))}, which its "
            "metadata.yaml lists: reading the files that are there"
        )
    plain = [n.removesuffix(PACKED) for n in listed]
    others = [f for f in there if f.name.removesuffix(PACKED) not in plain]
    if others:
        on_note(
            f"metadata.yaml of {str(folder)!r} does not list "
            f"{', '.join(repr(f.name) for f in others)}: read too"
        )
    known = [f for f in there if f not in others]
    return sorted(known, key=lambda f: plain.index(f.name.removesuffix(PACKED))) + others


def _parts(folder: Path) -> list[Path]:
    found = (f for f in folder.iterdir() if is_recording(f) and f.is_file())
    return sorted(found, key=lambda f: natural(f.name))


def _metadata(folder: Path) -> str | None:
    """Return the text of a folder's metadata.yaml, None where rosbag2 wrote none."""
    metadata = folder / METADATA
    if not metadata.is_file():
        return None
    with metadata.open("rb") as stream:
        text = stream.read(_MAX_METADATA_BYTES).decode("utf-8", "replace")
    return text if "rosbag2_bagfile_information" in text else None


def _open_file(file: Path, stack: ExitStack, on_note: NoteSink) -> AnyReader:
    if file.name.endswith(".bag.active"):
        raise BagError(_ACTIVE.format(path=str(file)))
    if not is_recording(file):
        raise BagError(
            f"expected a recording ending in {', '.join(STORAGE_SUFFIXES)}, packed by zstd or "
            f"not, got {str(file)!r}"
        )
    if remedy := lfs_remedy_of(file):
        raise BagError(f"recording {str(file)!r} cannot be read: {remedy}")
    if file.suffix == PACKED:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="semla-")))
        file = unpacked(file, folder, on_note)
    try:
        if file.suffix == ".bag":
            return _entered(Ros1Bag(file), stack)
        if file.suffix == ".mcap":
            return _open_mcap(file, stack, on_note)
        return _open_sqlite(file, stack, on_note)
    except BagError as error:
        mend = {".bag": ": copy it again or run `rosbag reindex`", ".db3": ": copy it again"}
        raise BagError(
            f"recording {str(file)!r} cannot be read: {error}{mend.get(file.suffix, '')}"
        ) from error


def _open_mcap(file: Path, stack: ExitStack, on_note: NoteSink) -> McapFile:
    reader = _entered(McapFile(file), stack)
    for note in reader.notes:
        on_note(f"recording {str(file)!r} {note}")
    if reader.foreign:
        names = [f"{t.topic} ({t.encoding} {t.msgtype})" for t in reader.foreign]
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if names[5:] else "")
        on_note(f"recording {str(file)!r}: not read, as they are no ROS messages: {shown}")
    return reader


def _open_sqlite(file: Path, stack: ExitStack, on_note: NoteSink) -> Ros2Reader | MendedSqlite:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="semla-")))
    log = left_beside(file)
    try:
        if log is not None:
            copy = recovered_copy(file, log, folder)
            done = "is read" if log.name.endswith(WAL) else "takes it back to its last commit"
            on_note(f"recording {str(file)!r} was not closed: its log {log.name!r} {done}")
            return _entered_sqlite(copy, stack)
        if any(c in str(file) for c in "?#%"):  # rosbags makes a URI of the path
            link = folder / "recording.db3"
            link.symlink_to(file.resolve())
            return _entered_sqlite(link, stack)
        return _entered_sqlite(file, stack)
    except BagError as error:
        try:
            mended = _entered(MendedSqlite(file), stack)
        except BagError:
            raise error from None
        lost = f"; what only its log {log.name!r} holds is missing" if log else ""
        on_note(
            f"recording {str(file)!r} is damaged ({error}): reading the rows that are left{lost}"
        )
        return mended


def _entered(reader: _Reader, stack: ExitStack) -> _Reader:
    stack.callback(lambda: guarded(reader.close) if _is_open(reader) else None)
    guarded(reader.open)
    return reader


def _entered_sqlite(path: Path, stack: ExitStack) -> Ros2Reader:
    with guarded_sqlite(path.stat().st_size):
        reader = _entered(Ros2Reader(path), stack)
    if not all(
        isinstance(c.topic, str) and isinstance(c.msgtype, str) for c in reader.connections
    ):
        raise BagError("its table of topics names none")
    return reader


def _is_open(reader: AnyReader) -> bool:
    return getattr(reader, "is_open", True) and getattr(reader, "bio", True) is not None
