"""Captions beside an adapter, and in its seal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from semla_ros.core.errors import AdapterError
from semla_ros.core.files.whole_file import write_file
from semla_ros.library.captions import captions_content, read_captions
from semla_ros.library.library import AdapterLibrary
from semla_ros.library.seal import CAPTIONS_FILE
from semla_ros.prepare.adapters.changes import disk, edited
from semla_ros.prepare.adapters.seals import reseal_file


def add_caption(library: AdapterLibrary, name: str, text: str) -> tuple[str, ...]:
    """Return the captions of adapter `name` after `text` was added and sealed.

    Raises:
        AdapterError: No such adapter, or no sentence that can be added; nothing is written.
    """
    if name not in library.names and name not in library.problems:
        raise AdapterError(f"expected an adapter of {library.names!r}, got {name!r}")
    folder = library.root / name
    captions = (*read_captions(folder), " ".join(text.split()))
    write_captions(folder, captions)
    return captions


def write_captions(folder: Path, captions: Sequence[str]) -> None:
    """Write `captions` beside the adapter in `folder`, and into its seal where it has one.

    Raises:
        AdapterError: They are none that can be kept, or cannot be written.
    """
    try:
        content = captions_content(captions)
    except ValueError as error:
        raise AdapterError(f"{folder.name}: {error}") from error
    with disk(f"write captions of {folder.name!r}"), edited(folder) as copy:
        reseal_file(write_file(copy / CAPTIONS_FILE, content, error=AdapterError))
