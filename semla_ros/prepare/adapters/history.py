"""What a library was, state by state, and the way back, bit for bit.

    library/.history/
      000001.json      when, why, and domain -> file -> sha256 and size
      files/<sha256>   every file that a state names, kept once

A state is there once its `.json` is there. Of a library that others change, too (by hand, by a
copy), the state that is found is kept before anything is done to it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from semla_ros.bundle import file_sha256
from semla_ros.core.errors import LibraryError
from semla_ros.core.files.lock import locked
from semla_ros.core.files.whole_file import write_file
from semla_ros.core.timing import wall_ns
from semla_ros.prepare.adapters.changes import staging, take_place
from semla_ros.prepare.adapters.states import LibraryState, read_state, state_content

FOLDER, FILES, LOCK_FILE = ".history", "files", ".lock"
FOUND = "found as it was"
_MAX_WHY = 120
_STATE = re.compile(r"(\d{6})\.json")


@contextmanager
def changing(library: Path, why: str) -> Iterator[None]:
    """Hold the library alone, keep the state that is found, and the one that is left.

    Args:
        library: The folder.
        why: What is done inside.

    Raises:
        LibraryError: Another process changes it, or its history cannot be written.
    """
    with alone(library):
        _keep(library, FOUND)
        yield
        _keep(library, why)


@contextmanager
def alone(library: Path) -> Iterator[None]:
    """Hold the library: no other process changes it through `semla` meanwhile.

    Raises:
        LibraryError: Another process holds it.
    """
    if not library.is_dir():
        raise LibraryError(f"expected a library, found no folder {str(library)!r}")
    what = f"the library {str(library)!r}"
    with locked(library / LOCK_FILE, error=LibraryError, what=what):
        yield


def history(library: Path) -> tuple[LibraryState, ...]:
    """Return the states of a library, the oldest first.

    Raises:
        LibraryError: A state cannot be read.
    """
    folder = library / FOLDER
    if not folder.is_dir():
        return ()
    numbers = sorted(int(m[1]) for p in folder.iterdir() if (m := _STATE.fullmatch(p.name)))
    return tuple(read_state(folder, number) for number in numbers)


def roll_back(library: Path, number: int) -> LibraryState:
    """Make the library what it was in state `number`, which becomes the newest state.

    Domains are replaced one by one, each in one step; what is the same already is not touched.
    After an interruption the same call goes on.

    Raises:
        LibraryError: No such state, a file of it is gone or damaged, a domain that would go holds
            folders, or the disk refuses: only then was anything changed.
    """
    with alone(library):
        _keep(library, FOUND)
        known = {state.number: state for state in history(library)}
        if number not in known:
            raise LibraryError(
                f"expected a state of {sorted(known)!r}, got {number}: semla library history"
            )
        wanted, found = known[number].domains, contents(library)
        different = [d for d in sorted({*wanted, *found}) if wanted.get(d) != found.get(d)]
        for domain in different:
            for digest in wanted.get(domain, {}).values():
                _check(library, digest)
            if domain not in wanted:
                _check_all_kept(library / domain)
        try:
            for domain in different:
                _restore(library, domain, wanted.get(domain))
        except OSError as error:
            raise LibraryError(
                f"cannot roll back {str(library)!r} ({error}): some domains are back already; "
                "mend the disk and call again"
            ) from error
        return _keep(library, f"rolled back to {number}")


def prune(library: Path, keep: int) -> tuple[int, int]:
    """Delete all states but the newest `keep`, and every file that no other state names.

    After an interruption the same call goes on.

    Returns:
        How many states were deleted, and how many bytes of files.

    Raises:
        LibraryError: `keep` is below 1, a state cannot be read, or the disk refuses.
    """
    if keep < 1:
        raise LibraryError(f"expected at least 1 state to keep, got {keep}")
    with alone(library):
        states, folder = history(library), library / FOLDER
        kept = states[-keep:]
        named = {each for s in kept for files in s.domains.values() for each in files.values()}
        nbytes = 0
        try:
            for state in states[:-keep]:
                (folder / f"{state.number:06d}.json").unlink()
            for path in (folder / FILES).iterdir() if states else ():
                if path.name not in named:
                    nbytes += path.stat().st_size
                    path.unlink()
        except OSError as error:
            raise LibraryError(f"cannot prune {str(folder)!r}: {error}: call again") from error
    return len(states) - len(kept), nbytes


def _keep(library: Path, why: str) -> LibraryState:
    """Return the newest state, which is what lies there now; it is written if it is another."""
    states, found = history(library), contents(library)
    if states and states[-1].domains == found:
        return states[-1]
    state = LibraryState(states[-1].number + 1 if states else 1, wall_ns(), why[:_MAX_WHY], found)
    content = state_content(state)
    try:
        (library / FOLDER / FILES).mkdir(parents=True, exist_ok=True)
        for domain, files in found.items():
            for name, digest in files.items():
                _keep_file(library, library / domain / name, digest)
    except OSError as error:
        raise LibraryError(f"cannot keep the history of {str(library)!r}: {error}") from error
    write_file(library / FOLDER / f"{state.number:06d}.json", content, error=LibraryError)
    return state


def _keep_file(library: Path, source: Path, digest: str) -> None:
    target = library / FOLDER / FILES / digest
    if target.exists() and target.stat().st_size == source.stat().st_size:
        return
    with staging(library / FOLDER) as scratch:
        shutil.copyfile(source, scratch / digest)
        if file_sha256(scratch / digest) != digest:
            raise LibraryError(f"{str(source)!r} changes while it is read: call again")
        (scratch / digest).rename(target)


def contents(library: Path) -> dict[str, dict[str, str]]:
    """Return domain -> file -> sha256 of what lies in a library; hidden things are no part of it.

    Raises:
        LibraryError: It cannot be read.
    """
    try:
        return {
            domain.name: {
                file.name: file_sha256(file)
                for file in sorted(domain.iterdir())
                if file.is_file() and not file.name.startswith(".")
            }
            for domain in sorted(library.iterdir())
            if domain.is_dir() and not domain.name.startswith(".")
        }
    except OSError as error:
        raise LibraryError(f"cannot read the library {str(library)!r}: {error}") from error


def _check(library: Path, digest: str) -> None:
    path = library / FOLDER / FILES / digest
    if not path.is_file() or file_sha256(path) != digest:
        raise LibraryError(
            f"{str(path)!r} of the history is gone or damaged: this state cannot come back; take "
            "another, or restore the folder"
        )


def _check_all_kept(domain: Path) -> None:
    inside = [path.name for path in sorted(domain.iterdir()) if path.is_dir()]
    if inside and not domain.is_symlink():
        raise LibraryError(
            f"rolling back would delete {str(domain)!r} with its folders {inside!r}, which no "
            "state keeps: move them away first"
        )


def _restore(library: Path, domain: str, files: Mapping[str, str] | None) -> None:
    """Put a domain in its place as it was; None: it was not there."""
    target = library / domain
    with staging(library) as scratch:
        if files is not None:
            (scratch / "new").mkdir()
            for name, digest in files.items():
                shutil.copyfile(library / FOLDER / FILES / digest, scratch / "new" / name)
        there = target.exists() or target.is_symlink()
        if files is not None:
            if there and not target.is_symlink():
                _take_along(target, scratch / "new")
            take_place(scratch / "new", target, aside=scratch / "old" if there else None)
        else:
            target.rename(scratch / "old")
        if (scratch / "old").is_symlink():
            (scratch / "old").unlink()  # the link alone, never what it points to


def _take_along(old: Path, new: Path) -> None:
    """Copy what is in no state, folders and hidden files, from a domain's folder to another."""
    for path in old.iterdir():
        if path.is_dir():
            shutil.copytree(path, new / path.name, symlinks=True)
        elif path.name.startswith("."):
            shutil.copy2(path, new / path.name, follow_symlinks=False)
