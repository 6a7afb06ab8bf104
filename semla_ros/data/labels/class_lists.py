"""Class lists: named ones that come with the package, files, and names given in a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from semla_ros.core.errors import VocabularyError
from semla_ros.core.files.structured_text import from_yaml
from semla_ros.core.shipped import shipped_files
from semla_ros.core.types import Vocabulary
from semla_ros.core.viz.palette import vocabulary_of

MAX_FILE_BYTES = 1_000_000


def read_classes(what: str) -> Vocabulary:
    """Return the class list that `what` means.

    Args:
        what: The name of a list in `config/classes` (`cityscapes`); a file, YAML or JSON: a list
            of names, or of {id, name, rgb}, bare or under `classes`; a text file with one name a
            line; or the names themselves, separated by `;` (by `,` where there is no `;`).

    Raises:
        VocabularyError: No such list or file, or an unusable one.
    """
    named = class_lists()
    if what in named:
        return _read_file(named[what])
    path = Path(what)
    if _is_file(path):
        return _read_file(path)
    names = [n.strip() for n in what.split(";" if ";" in what else ",")]
    if len(names) < 2 or path.suffix:
        raise VocabularyError(
            f"expected a class list of {sorted(named)!r}, a file, or names separated by ';', "
            f"got {what!r}"
        )
    return vocabulary_of(names)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a long line of names is no path
        return False


def class_lists() -> dict[str, Path]:
    """Return name -> file of the class lists that come with the package."""
    return shipped_files("config/classes")


def _read_file(path: Path) -> Vocabulary:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise VocabularyError(f"{path.name!r} is over {MAX_FILE_BYTES} bytes: not a class list")
    try:
        text = path.read_text(encoding="utf-8-sig")
        data = text.splitlines() if path.suffix == ".txt" else from_yaml(text)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise VocabularyError(f"{path.name!r} is no class list: {reason}") from error
    entries = data.get("classes") if isinstance(data, Mapping) else data
    if not isinstance(entries, list) or not entries:
        raise VocabularyError(
            f"{path.name!r}: expected a list of classes, got {type(entries).__name__}"
        )
    if path.suffix == ".txt":
        entries = [line for line in entries if line.strip()]
    try:
        return _vocabulary(entries)
    except VocabularyError as error:
        raise VocabularyError(f"{path.name!r}: {error}") from error


def _vocabulary(entries: Sequence[object]) -> Vocabulary:
    names: list[str] = []
    colors: list[object] = []
    for index, entry in enumerate(entries):
        fields = entry if isinstance(entry, Mapping) else {"name": entry}
        name = fields.get("name")
        if not isinstance(name, str):
            raise VocabularyError(f"class {index}: expected a name, got {name!r}")
        if fields.get("id", index) != index:
            raise VocabularyError(
                f"class {name!r}: expected ids 0, 1, 2, … in order, got {fields.get('id')!r} in "
                f"place {index}"
            )
        names.append(name)
        colors.append(fields.get("rgb"))
    if all(c is None for c in colors):
        return vocabulary_of(names)
    return Vocabulary(
        tuple(names),
        np.asarray([_rgb(c, n) for c, n in zip(colors, names, strict=True)], np.uint8),
    )


def _rgb(value: object, name: str) -> list[int]:
    if (
        not isinstance(value, Sequence)
        or len(value) != 3
        or not all(type(v) is int and 0 <= v <= 255 for v in value)
    ):
        raise VocabularyError(f"class {name!r}: expected rgb as three of 0 to 255, got {value!r}")
    return list(value)
