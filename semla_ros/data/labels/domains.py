"""Which domain a frame belongs to: one for all of a recording, or a table by stamp or name."""

from __future__ import annotations

import bisect
import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from semla_ros.core.errors import EvaluationError

MAX_FILE_BYTES = 200_000_000


@dataclass(frozen=True, slots=True)
class DomainTable:
    """The domains of a recording's frames.

    Attributes:
        default: Where the table says nothing.
        stamps: Increasing ns from which a domain holds, with `at_stamps`.
        at_stamps: The domain from each of `stamps` on.
        names: Frame name -> domain.
    """

    default: str = ""
    stamps: tuple[int, ...] = ()
    at_stamps: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def known(self) -> bool:
        """Whether there is a row for the recording."""
        return bool(self.stamps or self.names)

    def domain(self, stamp_ns: int, name: str) -> str:
        """Return the domain of a frame: by name, else by the last stamp that is not after it."""
        if name in self.names:
            return self.names[name]
        at = bisect.bisect_right(self.stamps, stamp_ns) - 1
        return self.at_stamps[at] if at >= 0 else self.default


def read_domains(path: Path, *, recording: str, file: str = "", default: str = "") -> DomainTable:
    """Return the table of one recording from a CSV file.

    Its columns are `domain` and either `stamp_ns` (the domain holds from there on) or `name` (of
    the frame). A column `recording` restricts a line to the recording of that name.

    Args:
        path: The file.
        recording: Name of the recording.
        file: What its file is called; counts where no line has `recording`.
        default: The domain of frames that the table does not know.

    Raises:
        EvaluationError: Missing, or not such a table; the line is named.
    """
    fields, rows = _rows(path)
    if "domain" not in fields or len(fields & {"stamp_ns", "name"}) != 1:
        raise EvaluationError(
            f"{path.name!r}: expected the columns stamp_ns or name, and domain, got "
            f"{sorted(fields)!r}"
        )
    own = recording if any(row.get("recording") == recording for _, row in rows) else file
    stamps: dict[int, str] = {}
    names: dict[str, str] = {}
    for line, row in rows:
        if row.get("recording") not in (None, "", own):
            continue
        if not all(isinstance(v, str) for k, v in row.items() if k in fields):
            raise EvaluationError(
                f"{path.name!r}, line {line}: expected {len(fields)} values, got fewer"
            )
        if "name" in fields:
            names[row["name"]] = row["domain"]
            continue
        try:
            stamps[int(row["stamp_ns"])] = row["domain"]
        except (TypeError, ValueError):
            raise EvaluationError(
                f"{path.name!r}, line {line}: expected stamp_ns as a whole number, got "
                f"{row['stamp_ns']!r}"
            ) from None
    ordered = sorted(stamps)
    return DomainTable(default, tuple(ordered), tuple(stamps[s] for s in ordered), names)


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
