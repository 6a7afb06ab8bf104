"""Which domain a frame belongs to: one for all of a recording, or a table by stamp or name."""

from __future__ import annotations

import bisect
import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from semla_ros.core.errors import EvaluationError
from semla_ros.data.inputs import IMAGE_SUFFIXES

MAX_FILE_BYTES = 200_000_000


@dataclass(frozen=True, slots=True)
class DomainTable:
    """The domains of a recording's frames.

    Attributes:
        default: Where the table says nothing.
        stamps: Increasing ns from which a domain holds, with `at_stamps`.
        at_stamps: The domain from each of `stamps` on.
        names: Frame name -> domain.
        file: Name of the table's file, "" without one.
    """

    default: str = ""
    stamps: tuple[int, ...] = ()
    at_stamps: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    file: str = ""

    @property
    def known(self) -> bool:
        """Whether there is a row for the recording."""
        return bool(self.stamps or self.names)

    def domain(self, stamp_ns: int, name: str) -> str:
        """Return the domain of a frame: by name, else by the last stamp that is not after it."""
        at = bisect.bisect_right(self.stamps, stamp_ns) - 1
        return self.names.get(name, self.at_stamps[at] if at >= 0 else self.default)

    def knows(self, stamp_ns: int, name: str) -> bool:
        """Return whether a row is for this frame."""
        return name in self.names or bool(self.stamps and self.stamps[0] <= stamp_ns)


def read_domains(path: Path, *, recording: str, file: str = "", default: str = "") -> DomainTable:
    """Return the table of one recording from a CSV file.

    Its columns are `domain` and either `stamp_ns` (the domain holds from there on) or `name` (of
    the frame or its file). A column `recording` restricts a line to the recording of that name.

    Args:
        path: The file.
        recording: Name of the recording.
        file: What its file is called; counts where no line has `recording`.
        default: The domain of frames that the table does not know.

    Raises:
        EvaluationError: Missing, not such a table, or two domains for one stamp or name; the line
            is named.
    """
    fields, rows = _rows(path)
    if "domain" not in fields or len(fields & {"stamp_ns", "name"}) != 1:
        raise EvaluationError(
            f"{path.name!r}: expected the columns stamp_ns or name, and domain, got "
            f"{sorted(fields)!r}"
        )
    own = recording if any(row.get("recording") == recording for _, row in rows) else file
    known: dict[int | str, str] = {}
    for line, row in rows:
        if row.get("recording") not in (None, "", own):
            continue
        where = f"{path.name!r}, line {line}"
        if not all(isinstance(v, str) for k, v in row.items() if k in fields):
            raise EvaluationError(f"{where}: expected {len(fields)} values, got fewer")
        key, domain = _key(row, where), row["domain"]
        if known.setdefault(key, domain) != domain:
            raise EvaluationError(
                f"{where}: expected one domain for {key!r}, got {known[key]!r} and {domain!r}: "
                "remove one of the lines"
            )
    stamps = sorted(k for k in known if isinstance(k, int))
    names = {k: v for k, v in known.items() if isinstance(k, str)}
    return DomainTable(default, tuple(stamps), tuple(known[s] for s in stamps), names, path.name)


def _key(row: Mapping[str, str], where: str) -> int | str:
    """Return the stamp of a row, or the name of its frame."""
    if "name" in row:
        name = row["name"]
        return Path(name).stem if name.lower().endswith(IMAGE_SUFFIXES) else name
    try:
        return int(row["stamp_ns"])
    except ValueError:
        raise EvaluationError(
            f"{where}: expected stamp_ns as a whole number, got {row['stamp_ns']!r}"
        ) from None


def _rows(path: Path) -> tuple[set[str], list[tuple[int, dict[str, str]]]]:
    """Return the names of the columns, and every row with its line."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise EvaluationError(f"{path.name!r} is over {MAX_FILE_BYTES} bytes: no domain table")
        text = path.read_text(encoding="utf-8-sig")
        rows = csv.DictReader(io.StringIO(text))
        return set(rows.fieldnames or ()), [(rows.line_num, row) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EvaluationError(f"cannot read domains from {str(path)!r}: {error}") from error
