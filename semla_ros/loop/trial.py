"""The bundle in quarantine that an adapter is trained and judged in, and what it depended on."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from semla_ros.bundle import MANIFEST, ModelBundle, file_sha256, open_bundle
from semla_ros.data.captures.record import sha256_of
from semla_ros.loop.quarantine import place_of
from semla_ros.prepare.adapters.changes import disk
from semla_ros.prepare.adapters.history import contents


def trial_root(bundle: ModelBundle, name: str) -> Path:
    """Return the folder of the trial bundle of adapter `name`."""
    return place_of(bundle, name) / "bundle"


def trial_bundle(bundle: ModelBundle, name: str) -> ModelBundle:
    """Return a bundle in quarantine with the library as it is now.

    Adapters are copied: a link would change when their inodes last changed, which tells a running
    node to read them again. What an earlier training of `name` left there stays.

    Raises:
        LibraryError: The disk refuses.
    """
    root = trial_root(bundle, name)
    library = root / "library"
    with disk(f"prepare {str(root)!r}"):
        library.mkdir(parents=True, exist_ok=True)
        for old in library.iterdir():
            if old.is_dir() and old.name != name and not old.name.startswith("."):
                shutil.rmtree(old)
        top = {p.name for p in bundle.root.iterdir() if p.is_file() and p.name[0] != "."}
        for file in top | {*bundle.manifest.files}:
            link(bundle.root / file, root / file)
        for domain, files in contents(bundle.library).items():
            (library / domain).mkdir()
            for file in files:
                shutil.copy2(bundle.library / domain / file, library / domain / file)
    return open_bundle(root, verify=False)


def link(source: Path, target: Path) -> None:
    """Make `target` the file `source`, without a copy where the disk can do that.

    A copy keeps the time of change: a training goes on only where the files seem the same.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copy2(source, target)


def library_key(bundle: ModelBundle, *, without: str = "") -> str:
    """Return a key of what a verdict rests on: bundle.yaml, and every file of the library.

    Args:
        bundle: Whose library.
        without: An adapter that does not count.
    """
    found = contents(bundle.library)
    found.pop(without, None)
    with disk(f"read {str(bundle.root / MANIFEST)!r}"):
        return key_of([file_sha256(bundle.root / MANIFEST), found])


def adapter_key(library: Path, name: str) -> str:
    """Return a key of the files of adapter `name` in a library."""
    return key_of(contents(library).get(name))


def key_of(value: object) -> str:
    """Return a key of plain values."""
    return sha256_of(json.dumps(value, sort_keys=True).encode())
