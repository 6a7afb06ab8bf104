"""The files of one adapter on their way into a library."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from semla_ros.core.errors import LibraryError
from semla_ros.library.adapter_config import MAX_CONFIG_BYTES
from semla_ros.library.seal import CONFIG_FILE, TENSOR_FILE
from semla_ros.library.statistics import MAX_STATISTICS_BYTES, statistics_path
from semla_ros.library.storage import copy_documents, copy_sealed
from semla_ros.library.tensor_file import MAX_TENSOR_BYTES


@contextmanager
def disk(action: str) -> Iterator[None]:
    """Tell what the disk refuses as a LibraryError of `action`."""
    try:
        yield
    except OSError as error:
        raise LibraryError(f"cannot {action}: {error}: check space and rights") from error


def copy_adapter(source: Path, target: Path, *, name: str) -> None:
    """Copy the adapter in `source` to the folder `target`, statistics under its new `name`.

    Raises:
        AdapterError: A file is missing, too large, or not what the seal in `source` says.
    """
    copy_sealed(source / CONFIG_FILE, target / CONFIG_FILE, max_bytes=MAX_CONFIG_BYTES)
    copy_sealed(source / TENSOR_FILE, target / TENSOR_FILE, max_bytes=MAX_TENSOR_BYTES)
    for statistics in (statistics_path(source, name), statistics_path(source, source.name)):
        if statistics.is_file():
            own = statistics_path(target, name)
            copy_sealed(statistics, own, max_bytes=MAX_STATISTICS_BYTES)
            break
    copy_documents(source, target)


def take_place(copy: Path, target: Path, *, aside: Path | None) -> None:
    """Put `copy` at `target`; what is there goes to `aside`, and comes back on failure."""
    if aside is not None:
        target.rename(aside)
    try:
        copy.rename(target)
    except OSError:
        if aside is not None:
            aside.rename(target)
        raise
