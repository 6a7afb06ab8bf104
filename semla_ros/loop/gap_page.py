"""The page of `semla gaps`: what was seen, by whom, when, and what it might be called."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from semla_ros.core.types import UInt8Array
from semla_ros.data.captures.record import CaptureRecord
from semla_ros.evaluation.files import write_file
from semla_ros.evaluation.page import (
    Headline,
    headlines,
    note,
    page,
    picture,
    picture_of,
    section,
    table,
    warning,
    write_page,
)
from semla_ros.evaluation.report.gap_files import contact_sheet
from semla_ros.evaluation.table import csv_text
from semla_ros.loop.gaps import GapsFound, NamedGap

PAGE, TABLE = "index.html", "gaps.csv"
_FIELDS = ("gap", "robot", "stamp_ns", "level", "reason", "support", "image")
_HEADER = (
    "proposed name",
    "frames",
    "robots",
    "first",
    "last",
    "out of library %",
    "nearest adapter",
    "in words",
)
_SHOWN_PROBLEMS = 20


def write_gaps(found: GapsFound, out: Path) -> tuple[Path, ...]:
    """Write the page and the table of every frame; return the files.

    Raises:
        EvaluationError: They cannot be written.
    """
    write_page(out / PAGE, _page(found))
    return out / PAGE, write_file(out / TABLE, csv_text(_FIELDS, _rows(found)))


def when(stamp_ns: int) -> str:
    """Return a stamp in UTC to the second, or its seconds where it is no date of a camera."""
    seconds = stamp_ns * 1e-9
    if not 1e9 < seconds < 1e10:
        return f"{seconds:.1f} s"
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


def _page(found: GapsFound) -> str:
    sources, gaps = found.sources, found.gaps
    top = headlines(
        [
            Headline(str(len(gaps)), "gaps", "groups of like frames"),
            Headline(str(len(sources.found)), "frames without support"),
            Headline(str(sum(len(g.robots) > 1 for g in gaps)), "gaps that several robots saw"),
        ]
    )
    top += "".join(warning(text) for text in sources.problems[:_SHOWN_PROBLEMS])
    if not gaps:
        sections = [section("Gaps", note("No frame without support: the library covers it all."))]
    else:
        about = "K-means on the navigator's embeddings; times are stamps of images, in UTC."
        sections = [section("Gaps", table(_HEADER, [_row(g) for g in gaps]), note=about)]
        sections += [_section(gap, found) for gap in gaps]
    name = found.bundle.manifest.name
    return page(
        "What the library lacks", f"Held against the library of {name}.", sections, top=top
    )


def _row(gap: NamedGap) -> tuple[str | int | float, ...]:
    return (
        gap.name,
        len(gap.gap.frames),
        ", ".join(gap.robots),
        when(gap.first_ns),
        when(gap.last_ns),
        100 * gap.gap.out_of_library,
        gap.gap.nearest,
        "; ".join(gap.words.values()),
    )


def _section(gap: NamedGap, found: GapsFound) -> str:
    shown: list[UInt8Array] = [rgb for _, rgb in found.sources.pictures(gap.gap.exemplars)]
    sheet = picture_of(contact_sheet([shown]), ".jpg") if shown else None
    alt = f"Contact sheet: typical frames of {gap.name}"
    body = picture(sheet, alt=alt) if sheet else note("Its images cannot be read any more.")
    return section(gap.name, body, note=f"To be labelled: {gap.label_set.root.name}/")


def _rows(found: GapsFound) -> Sequence[tuple[object, ...]]:
    rows = []
    for gap in found.gaps:
        for frame in gap.gap.frames:
            capture = found.sources.captures.get((frame.recording, frame.index))
            record: CaptureRecord | None = capture.record if capture else None
            rows.append(
                (
                    gap.name,
                    frame.recording,
                    frame.stamp_ns,
                    frame.level,
                    record.reason if record else "",
                    f"{frame.support:.6g}",
                    str(capture.image_path) if capture else "",
                )
            )
    return rows
