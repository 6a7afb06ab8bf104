"""One process at a time: a lock that the kernel takes back when its holder is gone."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from semla_ros.core.errors import SemlaError


@contextmanager
def locked(path: Path, *, error: type[SemlaError], what: str) -> Iterator[None]:
    """Hold the lock file `path`, which is made and stays; SIGKILL releases it, too.

    Args:
        path: Its folder exists.
        error: Raised when another process holds it, or it cannot be made.
        what: What is locked, for the message.

    Raises:
        SemlaError: An `error`.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as reason:
        raise error(f"cannot lock {str(path)!r}: {reason.strerror or reason}") from reason
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as reason:
            raise error(
                f"{what} is in use by another process, which holds {str(path)!r}: "
                "wait for it, or end it"
            ) from reason
        yield
    finally:
        os.close(handle)
