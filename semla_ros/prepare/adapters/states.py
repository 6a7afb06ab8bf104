"""A state of a library's history: the file that holds it, and what may stand there."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from semla_ros.core.errors import LibraryError
from semla_ros.core.files.checks import integer, mapping, table, text
from semla_ros.core.files.structured_text import checked_json

_FORMAT = 1
_MAX_STATE_BYTES = 100_000_000
_DIGEST = re.compile(r"[0-9a-f]{64}")
Domains = Mapping[str, Mapping[str, str]]
"""Domain -> file -> sha256."""


@dataclass(frozen=True, slots=True)
class LibraryState:
    """What a library was after something was done to it.

    Attributes:
        number: From 1, the oldest.
        when_ns: By the machine's clock, ns since 1970.
        why: What was done.
        domains: What lay there.
    """

    number: int
    when_ns: int
    why: str
    domains: Domains


def state_content(state: LibraryState) -> bytes:
    """Return the content of a state's file.

    Raises:
        LibraryError: A name or reason that could not be read back.
    """
    value = {
        "format": _FORMAT,
        "when_ns": state.when_ns,
        "why": state.why,
        "domains": {domain: dict(files) for domain, files in state.domains.items()},
    }
    try:
        _CHECK(value, "")
    except ValueError as error:
        raise LibraryError(
            f"the history of the library cannot name a file ({error}): rename or remove it"
        ) from error
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def read_state(folder: Path, number: int) -> LibraryState:
    """Return state `number` of the history in `folder`.

    Raises:
        LibraryError: It cannot be read.
    """
    path = folder / f"{number:06d}.json"
    try:
        value = checked_json(path, _CHECK, max_bytes=_MAX_STATE_BYTES)
    except (OSError, ValueError) as error:
        raise LibraryError(f"{str(path)!r} is damaged ({error}): remove this state") from error
    return LibraryState(number, value["when_ns"], value["why"], value["domains"])


def _name(value: object, path: str) -> None:
    text(value, path)
    if not isinstance(value, str) or "/" in value or value.startswith("."):
        raise ValueError(f"{path}: expected a plain name, got {value!r}")


def _digest(value: object, path: str) -> None:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise ValueError(f"{path}: expected a sha256, got {value!r}")


def _files(value: object, path: str) -> None:
    if value != {}:
        mapping(_name, _digest)(value, path)


def _domains(value: object, path: str) -> None:
    if value != {}:
        mapping(_name, _files)(value, path)


_CHECK = table(
    {
        "format": integer(_FORMAT, _FORMAT),
        "when_ns": integer(0, 2**63 - 1),
        "why": text,
        "domains": _domains,
    }
)
