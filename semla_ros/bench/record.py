"""What every benchmark writes: title, command, machine, rows of figures, more tables, notes."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from semla_ros.core.errors import EvaluationError
from semla_ros.evaluation.files import plain, read_json, typed, write_file
from semla_ros.evaluation.run import versions

Cell = str | int | float | bool | None
Row = Mapping[str, Cell]
Machine = Mapping[str, str | int | float]

MAX_RECORD_BYTES = 64_000_000
_EXTRA_PACKAGES = ("openvino", "peft", "ros-rclpy", "rclpy")
_GIB = 2**30


def machine_facts() -> dict[str, str | int | float]:
    """Return processor, cores, memory, system, versions and load; no host name, no path.

    `load_before` is the load average when the benchmark began: above 0.3 a core, other programs
    may have been at work, or it is the trace of the benchmark before.
    """
    facts: dict[str, str | int | float] = {
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "usable_cores": len(psutil.Process().cpu_affinity()),
        "memory_gib": round(psutil.virtual_memory().total / _GIB, 1),
        "system": f"{_distribution()}, {platform.system()} {platform.release()}",
        "load_before": round(psutil.getloadavg()[0], 2),
    }
    found = versions()
    found.pop("machine", None)
    for name in _EXTRA_PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return facts | {f"version.{name}": text for name, text in found.items()}


def _processor() -> str:
    """Return the processor's name, which `platform` does not know on Linux."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.system()


@dataclass(frozen=True, slots=True)
class BenchRecord:
    """One benchmark's outcome; in JSON its attributes are the keys, `extra` beside them.

    Attributes:
        title: What was measured.
        command: The command line that measures it again.
        rows: The table; the keys of a row are its columns, units in their names.
        machine: Where it was measured, see `machine_facts`.
        notes: What a reader must know to take the figures right, one sentence each.
        extra: Anything else: `tables` (title and rows each), the series behind a picture.
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
    content = {f.name: getattr(record, f.name) for f in fields(record) if f.name != "extra"}
    text = json.dumps(plain({**content, **record.extra}), indent=1, allow_nan=False)
    write_file(path, text + "\n")


def read_record(path: Path) -> BenchRecord:
    """Return the record in `path`.

    Raises:
        EvaluationError: Missing, too large, or no record.
    """
    content = read_json(path, what="a benchmark record", max_bytes=MAX_RECORD_BYTES)
    try:
        stored = typed(_Stored, content)
    except ValueError as error:
        raise EvaluationError(
            f"{str(path)!r}: {error}: write the record with `semla bench`"
        ) from error
    known = {f.name for f in fields(BenchRecord)}
    extra = {key: value for key, value in content.items() if key not in known}
    return BenchRecord(
        stored.title, stored.command, stored.rows, stored.machine, stored.notes, extra
    )


@dataclass(frozen=True, slots=True)
class _Table:
    """A further table of a record."""

    title: str
    rows: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class _Stored:
    """What is taken from a saved record as it is."""

    title: str
    command: str
    rows: tuple[Mapping[str, Any], ...]
    machine: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    tables: tuple[_Table, ...] = ()
