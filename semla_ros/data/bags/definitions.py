"""Message definitions for writing recordings: rosbags' own, and this package's `.msg` files.

The `.msg` files are the single source: the same ones that ROS builds its messages from are read
here as text, so recordings are written without ROS.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from semla_ros.core.errors import BagError
from semla_ros.core.shipped import shipped

SOURCES: Mapping[str, str] = {"semla_ros": "msg", "vision_msgs": "vision_msgs/msg"}
"""Packages besides ROS 2's common interfaces -> where their `.msg` files are shipped."""


def message_folder(package: str) -> Path | None:
    """Return the folder of a package's `.msg` files, None where they are not shipped."""
    return shipped(SOURCES[package]) if package in SOURCES else None


def read_definitions(folder: Path, package: str) -> dict[str, str]:
    """Return message type -> text of every `.msg` file in `folder`."""
    return {
        f"{package}/msg/{file.stem}": file.read_text(encoding="utf-8")
        for file in sorted(folder.glob("*.msg"))
    }


def typestore_with(definitions: Mapping[str, str] | None = None) -> Typestore:
    """Return a typestore of ROS 2's common interfaces, those of `SOURCES` and `definitions`.

    Raises:
        BagError: A definition cannot be parsed, or contradicts a known one.
    """
    texts: dict[str, str] = {}
    for package in SOURCES:
        folder = message_folder(package)
        if folder is not None:
            texts.update(read_definitions(folder, package))
    texts.update(definitions or {})
    store = get_typestore(Stores.LATEST)
    _register(store, texts.items())
    return store


def _register(store: Typestore, texts: Iterable[tuple[str, str]]) -> None:
    types = {}
    for name, text in texts:
        try:
            types.update(get_types_from_msg(text, name))
        except TypesysError as error:
            raise BagError(f"message definition {name!r} cannot be parsed: {error}") from error
    try:
        store.register(types)
    except TypesysError as error:
        raise BagError(f"message definitions contradict known ones: {error}") from error
