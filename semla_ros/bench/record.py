"""What every benchmark writes: title, command, machine, rows of figures, notes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semla_ros.bench.machine import Machine, machine_facts
from semla_ros.errors import EvaluationError
from semla_ros.evaluation.files import finite, write_file
from semla_ros.structured_text import from_json

Cell = str | int | float | bool | None
Row = Mapping[str, Cell]

MAX_RECORD_BYTES = 64_000_000
_REQUIRED = {"title": str, "command": str, "rows": list}
_KNOWN = (*_REQUIRED, "machine", "notes")


@dataclass(frozen=True, slots=True)
class BenchRecord:
    """One benchmark's outcome; in JSON its attributes are the keys, `extra` beside them.

    Attributes:
        title: What was measured.
        command: The command line that measures it again.
        rows: The table; the keys of a row are its columns, units in their names.
        machine: Where it was measured, see `machine_facts`.
        notes: What a reader must know to take the figures right, one sentence each.
        extra: Anything else, such as the series behind a picture.
    """

    title: str
    command: str
    rows: tuple[Row, ...]
    machine: Machine = field(default_factory=machine_facts)
    notes: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


def save_record(record: BenchRecord, path: Path) -> None:
    """Write `record` as JSON; NaN and infinities become null.

    Raises:
        EvaluationError: It cannot be written.
    """
    content = {
        "title": record.title,
        "command": record.command,
        "machine": dict(record.machine),
        "rows": [dict(row) for row in record.rows],
        "notes": list(record.notes),
        **record.extra,
    }
    text = json.dumps(finite(content), indent=1, allow_nan=False)
    write_file(path, (text + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in `path`.

    Raises:
        EvaluationError: Missing, too large, or no JSON object.
    """
    try:
        size = path.stat().st_size
        if size > MAX_RECORD_BYTES:
            raise EvaluationError(
                f"expected at most {MAX_RECORD_BYTES} bytes in {str(path)!r}, got {size}"
            )
        content = from_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{str(path)!r} is no benchmark record: {error}") from error
    if not isinstance(content, dict):
        raise EvaluationError(f"{str(path)!r}: expected an object, got {type(content).__name__}")
    return content


def record_of(content: Mapping[str, Any], path: Path) -> BenchRecord:
    """Return the record that `content` is; `path` is where it came from.

    Raises:
        EvaluationError: It is none.
    """
    for key, kind in _REQUIRED.items():
        if not isinstance(content.get(key), kind):
            raise EvaluationError(
                f"{str(path)!r}: expected {key!r} of type {kind.__name__}, got "
                f"{content.get(key)!r}: write it with `semla bench`"
            )
    return BenchRecord(
        content["title"],
        content["command"],
        tuple(_rows(path, content["rows"])),
        content.get("machine") or {},
        tuple(str(note) for note in content.get("notes") or ()),
        {key: value for key, value in content.items() if key not in _KNOWN},
    )


def _rows(path: Path, rows: list[Any]) -> list[Row]:
    for row in rows:
        if not isinstance(row, dict):
            raise EvaluationError(f"{str(path)!r}: expected rows of objects, got {row!r}")
    return rows
