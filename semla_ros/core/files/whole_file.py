"""Files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from semla_ros.core.errors import SemlaError

_MAX_STEM_BYTES = 200
"""So that file systems that take the name of the whole file take that of the partial one, too."""


def _stem(name: str) -> str:
    """Return what tells the partial file of `name` from others beside it."""
    content = os.fsencode(name)
    return name if len(content) <= _MAX_STEM_BYTES else hashlib.sha256(content).hexdigest()


def to_disk(path: Path) -> None:
    """Return when the content of `path` outlives a power cut.

    Raises:
        OSError: The disk refuses.
    """
    with path.open("rb") as file:
        os.fsync(file.fileno())


def write_file(path: Path, content: bytes, *, error: type[SemlaError]) -> Path:
    """Write `path` in one step, its folder where that is missing; return it.

    Raises:
        SemlaError: An `error`: it cannot be written; an older file is left as it was.
    """
    partial = path.with_name(f".{_stem(path.name)}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as reason:
        with suppress(OSError):
            partial.unlink()
        raise error(f"cannot write {str(path)!r}: {reason.strerror or reason}") from reason
    return path
