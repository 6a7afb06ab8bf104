"""An adapter that passed leaves quarantine and serves."""

from __future__ import annotations

import os
from pathlib import Path

from semla_ros.bundle import ModelBundle
from semla_ros.core.errors import LibraryError
from semla_ros.core.files.whole_file import to_disk, write_file
from semla_ros.library.library import AdapterLibrary
from semla_ros.loop.quarantine import FOLDER, VERDICT, alone, place_of, read_verdict
from semla_ros.loop.trial import adapter_key, library_key, trial_root
from semla_ros.prepare.adapters.changes import add_adapter, disk, staging
from semla_ros.prepare.adapters.history import changing

APPROVED = ".approved"
"""In quarantine: the verdicts of the adapters that were let in."""


def approve(bundle: ModelBundle, name: str) -> Path:
    """Let an adapter into the library and empty its place in quarantine; return its folder.

    After an interruption the same call goes on.

    Raises:
        LibraryError: It did not pass, it or the library is another than was judged, a loop is at
            work, or it cannot be added.
    """
    with alone(bundle):
        return let_in(bundle, name)


def let_in(bundle: ModelBundle, name: str) -> Path:
    """Do what `approve` does for whoever holds the quarantine."""
    verdict, library = read_verdict(bundle, name), trial_root(bundle, name) / "library"
    made = library / name
    if not verdict.passed:
        raise LibraryError(
            f"adapter {name!r} stays in quarantine: {'; '.join(verdict.reasons)}: to use it all "
            f"the same: semla library add {bundle.root} {made}"
        )
    key = adapter_key(library, name)
    if key != verdict.adapter:
        raise LibraryError(
            f"adapter {name!r} in quarantine is not the one that was judged: run "
            "`semla loop train` again"
        )
    with changing(bundle.library, f"let in {name}"):
        if adapter_key(bundle.library, name) != key:  # else an interrupted call has added it
            if library_key(bundle) != verdict.library:
                raise LibraryError(
                    f"adapter {name!r} was held against another library or bundle.yaml than lies "
                    "there now: run `semla loop train` again, which only judges it anew"
                )
            add_adapter(AdapterLibrary.of(bundle), made, name)
    _clear(bundle, name)
    return bundle.library / name


def _clear(bundle: ModelBundle, name: str) -> None:
    """Empty the place of an adapter that serves, once its files outlive a power cut."""
    quarantine, place = bundle.library / FOLDER, place_of(bundle, name)
    with disk(f"finish letting in {name!r}, which is in the library (approve it again)"):
        _settle(bundle.library / name)
        kept = quarantine / APPROVED / f"{name}.json"
        write_file(kept, (place / VERDICT).read_bytes(), error=LibraryError)
        with staging(quarantine) as scratch:
            place.rename(scratch / name)  # gone in one step: no crash leaves half a place


def _settle(folder: Path) -> None:
    for file in folder.iterdir():
        to_disk(file)
    for each in (folder, folder.parent):
        handle = os.open(each, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
