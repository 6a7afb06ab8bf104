"""Figures as plain nested JSON, as `python -m semla_ros.bench.fusion` prints them, as a record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from semla_ros.bench.record import BenchRecord, Cell, Row

_MACHINE = "machine"


def is_plain(content: Mapping[str, Any]) -> bool:
    """Return whether `content` is figures with a machine, but no record."""
    return isinstance(content.get(_MACHINE), dict) and not {"title", "rows"} & content.keys()


def adopted(content: Mapping[str, Any], *, name: str) -> BenchRecord:
    """Return `content` as a record: a table for each group of figures.

    Args:
        content: See `is_plain`.
        name: What it is called; the module of this room that printed it.
    """
    groups = {k: v for k, v in content.items() if k != _MACHINE and isinstance(v, (dict, list))}
    single = {k: v for k, v in content.items() if k != _MACHINE and k not in groups}
    tables = [{"title": _words(k), "rows": _rows(v)} for k, v in groups.items()]
    return BenchRecord(
        _words(name).capitalize(),
        f"python -m semla_ros.bench.{name} > {name}.json",
        (flattened(single),) if single else (),
        content[_MACHINE],
        extra={"tables": tables},
    )


def flattened(values: Mapping[str, Any], *, prefix: str = "") -> dict[str, Cell]:
    """Return `values` without nesting; inner names are joined by blanks."""
    flat: dict[str, Cell] = {}
    for key, value in values.items():
        name = f"{prefix} {key}".strip()
        if isinstance(value, Mapping):
            flat |= flattened(value, prefix=name)
        elif isinstance(value, list):
            flat[name] = ", ".join(f"{each}" for each in value)
        else:
            flat[name] = value
    return flat


def _rows(group: Mapping[str, Any] | list[Any]) -> list[Row]:
    if isinstance(group, list):
        return [flattened(each) if isinstance(each, Mapping) else {"": each} for each in group]
    if group and all(isinstance(value, Mapping) for value in group.values()):
        return [
            {"figure": f"{key} {name}".strip(), "value": value}
            for key, inner in group.items()
            for name, value in flattened(inner).items()
        ]
    return [{"figure": name, "value": value} for name, value in flattened(group).items()]


def _words(name: str) -> str:
    return name.replace("_", " ")
