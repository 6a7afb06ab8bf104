"""`semla library seal`: somebody vouches for the adapters that lie in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from semla_ros.bundle import MANIFEST
from semla_ros.core.errors import AdapterError, LibraryError
from semla_ros.core.files.whole_file import write_file
from semla_ros.library.captions import read_captions
from semla_ros.library.seal import (
    CAPTIONS_FILE,
    CONFIG_FILE,
    SEAL_FILE,
    TENSOR_FILE,
    read_seal,
)
from semla_ros.library.statistics import read_statistics, statistics_path
from semla_ros.library.storage import read_adapter, waits_for_adapter
from semla_ros.prepare.adapters.seals import check_against, write_seal


def seal_domains(folder: Path, names: Sequence[str] = (), *, replace: bool = False) -> list[str]:
    """Return the domains that were sealed; those whose seal holds are left alone.

    Nothing is written unless every one of them can be read.

    Args:
        folder: A bundle, a library, or one adapter.
        names: Domains; none: all.
        replace: Seal what is there where it is not what was sealed before.

    Raises:
        LibraryError: No adapters, no such domain, or a seal that does not hold, without `replace`.
    """
    chosen = _chosen(folder, names)
    pending = [each for each in chosen if not _holds(each, replace=replace)]
    before = {each: _content(each / SEAL_FILE) for each in pending}
    try:
        for each in pending:
            write_seal(each)
            _check(each)
    except AdapterError:
        for each, content in before.items():
            _restore(each / SEAL_FILE, content)
        raise
    return [each.name for each in pending]


def _chosen(folder: Path, names: Sequence[str]) -> list[Path]:
    root = folder / "library" if (folder / MANIFEST).is_file() else folder
    if not root.is_dir():
        raise LibraryError(f"expected a bundle, a library or an adapter, got {str(folder)!r}")
    if any((root / file).exists() for file in (CONFIG_FILE, TENSOR_FILE)):
        found = {root.resolve().name: root}
    else:
        found = {
            path.name: path
            for path in sorted(root.iterdir())
            if path.is_dir() and not path.name.startswith(".")
        }
    unknown = sorted(set(names) - found.keys())
    if unknown or not found:
        raise LibraryError(
            f"expected adapters of {sorted(found)!r} in {str(root)!r}, got {list(names)!r}"
        )
    return [path for name, path in found.items() if not names or name in names]


def _holds(folder: Path, *, replace: bool) -> bool:
    """Return whether the seal in `folder` is there and says what its files are.

    Raises:
        AdapterError: It says something else, and it is not to be replaced.
    """
    try:
        seal = read_seal(folder)
        if seal is None:
            return False
        check_against(seal, folder)
        for file in _own_files(folder):
            seal.require(file)
    except AdapterError:
        if replace:
            return False
        raise
    return True


def _own_files(folder: Path) -> list[str]:
    statistics = statistics_path(folder, folder.resolve().name).name
    own = (CONFIG_FILE, TENSOR_FILE, CAPTIONS_FILE, statistics)
    return [file for file in own if (folder / file).exists()]


def _check(folder: Path) -> None:
    name = folder.resolve().name
    if not waits_for_adapter(folder, name):
        read_adapter(folder, name=name)
    if statistics_path(folder, name).is_file():
        read_statistics(folder, name)
    read_captions(folder)


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _restore(path: Path, content: bytes | None) -> None:
    with suppress(OSError):
        if content is None:
            path.unlink(missing_ok=True)
        else:
            write_file(path, content, error=AdapterError)
