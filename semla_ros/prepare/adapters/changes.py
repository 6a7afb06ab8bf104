"""Adapters into a library, out of it, or under another name: in one step or not at all.

Each returns the library's next snapshot; the one before keeps answering for what it has read.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from semla_ros.core.errors import AdapterError, LibraryError
from semla_ros.library.adapter_config import MAX_CONFIG_BYTES
from semla_ros.library.captions import MAX_CAPTIONS_FILE_BYTES
from semla_ros.library.library import AdapterLibrary
from semla_ros.library.seal import (
    CAPTIONS_FILE,
    CONFIG_FILE,
    DOCUMENTS,
    MAX_DOCUMENT_BYTES,
    TENSOR_FILE,
    read_seal,
    read_sealed,
)
from semla_ros.library.statistics import MAX_STATISTICS_BYTES, statistics_path
from semla_ros.library.storage import check_name, waits_for_adapter
from semla_ros.library.tensor_file import MAX_TENSOR_BYTES
from semla_ros.prepare.adapters.seals import copy_signature, rename_sealed, write_seal

_LOG = logging.getLogger(__name__)


def add_adapter(library: AdapterLibrary, folder: Path, name: str) -> AdapterLibrary:
    """Return the library with the adapter in `folder` copied in as `name`.

    The copy is sealed and checked in a hidden folder and appears in one step or not at all.
    A domain that has statistics alone keeps them, and captions and documents that the adapter
    has not.

    Raises:
        AdapterError: Unusable, not what its own seal says, or the name is taken.
    """
    waiting = waits_for_adapter(library.root / check_name(name), name)
    target = library.root / name if waiting else _free(library, name)
    with disk(f"add adapter {name!r}"), staging(library.root) as scratch:
        copy = scratch / name
        copy.mkdir()
        _copy_adapter(folder, copy, name=name)
        if waiting:
            shutil.copyfile(statistics_path(target, name), statistics_path(copy, name))
            copy_companions(target, copy)
        write_seal(copy)  # before the check, which then reads the very bytes that are sealed
        copy_signature(folder, copy)
        library.contract.read(copy, name)
        library.contract.statistics(copy, name)
        take_place(copy, target, aside=scratch / ".before" if waiting else None)
    _LOG.info("added adapter %s", name)
    return library.reload()


def remove_adapter(library: AdapterLibrary, name: str) -> AdapterLibrary:
    """Return the library without the adapter `name`; its folder is deleted.

    Raises:
        AdapterError: No such adapter, or folders lie in its own, which no history would keep.
    """
    folder = _existing(library, name)
    inside = [path.name for path in sorted(folder.iterdir()) if path.is_dir()]
    if inside and not folder.is_symlink():
        raise AdapterError(
            f"adapter {name!r}: its folder holds folders {inside!r}, which could not be brought "
            "back: move them away first"
        )
    with disk(f"remove adapter {name!r}"), staging(library.root) as scratch:
        # Out of sight in one step; a symbolic link loses the link, never what it points to.
        folder.rename(scratch / name)
        if (scratch / name).is_symlink():
            (scratch / name).unlink()
    _LOG.info("removed adapter %s", name)
    return library.reload()


def rename_adapter(library: AdapterLibrary, old: str, new: str) -> AdapterLibrary:
    """Return the library with the adapter `old` called `new`; its seal stays what it was.

    Raises:
        AdapterError: No such adapter, or the new name is taken or not allowed.
    """
    folder, target = _existing(library, old), _free(library, new)
    before, after = statistics_path(folder, old), statistics_path(folder, new)
    with disk(f"rename adapter {old!r}"):
        if before.is_file():
            # Both names exist, sealed, for a moment: no crash leaves half an adapter. The
            # seal goes along unhashed: a new name vouches for nothing.
            shutil.copyfile(before, after)
            rename_sealed(folder, before.name, after.name)
        folder.rename(target)
        rename_sealed(target, before.name, None)
        statistics_path(target, old).unlink(missing_ok=True)
    _LOG.info("renamed adapter %s to %s", old, new)
    return library.reload()


@contextmanager
def disk(action: str) -> Iterator[None]:
    """Tell what the disk refuses as a LibraryError of `action`."""
    try:
        yield
    except OSError as error:
        raise LibraryError(f"cannot {action}: {error}: check space and rights") from error


def _copy_adapter(source: Path, target: Path, *, name: str) -> None:
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
    copy_companions(source, target)


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


@contextmanager
def edited(folder: Path) -> Iterator[Path]:
    """Yield a copy of an adapter's folder, which takes its place in one step, seal and all."""
    folder = folder.resolve()
    with staging(folder.parent) as scratch:
        copy = Path(shutil.copytree(folder, scratch / folder.name))
        yield copy
        take_place(copy, folder, aside=scratch / ".before")


@contextmanager
def staging(parent: Path) -> Iterator[Path]:
    """Yield a hidden folder on the disk of `parent`, so that a rename is one step."""
    folder = Path(tempfile.mkdtemp(prefix=".staging-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def copy_companions(source: Path, target: Path) -> None:
    """Copy captions, and what says whose an adapter is (`DOCUMENTS`), unless `target` has its own.

    Raises:
        AdapterError: The captions are not what was sealed.
    """
    captions = target / CAPTIONS_FILE
    if (source / CAPTIONS_FILE).is_file() and not captions.exists():
        copy_sealed(source / CAPTIONS_FILE, captions, max_bytes=MAX_CAPTIONS_FILE_BYTES)
    for name in DOCUMENTS:
        path = source / name
        small = path.is_file() and path.stat().st_size <= MAX_DOCUMENT_BYTES
        if small and not (target / name).exists():
            shutil.copyfile(path, target / name)


def copy_sealed(source: Path, target: Path, *, max_bytes: int) -> None:
    """Copy a file of an adapter; what is written are the bytes that were held against its seal.

    Raises:
        AdapterError: Missing, too large, or not what was sealed.
    """
    if not source.is_file():
        raise AdapterError(f"expected {source.name} in {str(source.parent)!r}, found none")
    seal = read_seal(source.parent)
    target.write_bytes(read_sealed(source, seal, max_bytes=max_bytes))


def _free(library: AdapterLibrary, name: str) -> Path:
    target = library.root / check_name(name)
    if target.exists() or target.is_symlink():
        raise AdapterError(f"adapter {name!r} is already there: remove it or take another name")
    return target


def _existing(library: AdapterLibrary, name: str) -> Path:
    folder = library.root / name
    if name not in library.names and name not in library.problems:
        raise AdapterError(f"expected an adapter of {library.names!r}, got {name!r}")
    if not folder.is_dir():
        raise AdapterError(f"adapter {name!r} is gone from {str(library.root)!r}: reload")
    return folder
