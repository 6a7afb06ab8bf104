"""Databases that a killed recorder left open: SQLite itself mends a copy, the recording stays.

rosbag2 that was killed, or is still recording, leaves the newest messages in a write-ahead log
`<name>.db3-wal`, or an unfinished transaction with its undo in `<name>.db3-journal`.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from semla_ros.core.errors import BagError

WAL, JOURNAL = "-wal", "-journal"
_LEAST_BYTES = 32
"""A log that holds no more than its header holds nothing."""


def left_beside(path: Path) -> Path | None:
    """Return the write-ahead log or rollback journal beside a database; None: it was closed."""
    for ending in (WAL, JOURNAL):
        file = path.with_name(f"{path.name}{ending}")
        if file.is_file() and file.stat().st_size > _LEAST_BYTES:
            return file
    return None


def recovered_copy(path: Path, log: Path, folder: Path) -> Path:
    """Return a copy in `folder` of the database `path` with `log`, see `left_beside`, applied.

    Raises:
        BagError: There is no room for the copy, or SQLite cannot mend it.
    """
    copy = folder / "recovered.db3"
    most = path.stat().st_size + log.stat().st_size
    try:
        shutil.copyfile(path, copy)
        shutil.copyfile(log, folder / f"{copy.name}{log.name.removeprefix(path.name)}")
        with closing(sqlite3.connect(copy)) as database:
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
            database.execute("PRAGMA journal_mode=DELETE").fetchone()
    except OSError as error:
        raise BagError(
            f"{str(path)!r} has a log {log.name!r}, and its copy to {str(folder)!r} failed "
            f"({error.strerror}): set TMPDIR to a disk with room"
        ) from error
    except sqlite3.Error as error:
        raise BagError(f"{log.name!r} cannot be applied: {error}") from error
    if copy.stat().st_size > most:
        raise BagError(f"{log.name!r} makes more pages than both files hold")
    return copy
