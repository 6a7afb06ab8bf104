"""Which adapters lie on the disk as they did when they were read.

A folder is taken for unchanged while every file in it has the same inode, size, time of change of
its bytes and time of change of its inode. The last one no program can set: bytes rewritten with
their size and modification time restored are noticed. Bytes that change below the file system (a
failing disk, a write to the device) are not: those are found when the adapter is opened anew, at
the next start, against its seal.
"""

from __future__ import annotations

import os
from pathlib import Path

from semla_ros.core.timing import wall_ns

Stamp = tuple[tuple[str, int, int, int, int, int], ...]

_SETTLED_NS = 2_000_000_000
"""File systems count time in steps, some of two seconds: a file that changed within them may
change again and show the same time."""


def stamp_of(folder: Path) -> Stamp | None:
    """Return what changes with any file in `folder`; None where that cannot be told (yet)."""
    now_ns = wall_ns()
    try:
        with os.scandir(folder) as entries:
            states = sorted((entry.name, entry.stat()) for entry in entries)
    except OSError:
        return None
    if any(state.st_ctime_ns > now_ns - _SETTLED_NS for _, state in states):
        return None
    return tuple(
        (name, s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in states
    )
