"""The page of `semla loop demo`: both laps side by side, and what lay between them."""

from __future__ import annotations

import math

from semla_ros.demo.laps import FoundGap, Lap, LoopOutcome
from semla_ros.demo.showcase_page import drive_course
from semla_ros.evaluation.bars import BarRow, grouped_bars
from semla_ros.evaluation.drawing import adapter_fills
from semla_ros.evaluation.page import (
    Headline,
    headlines,
    note,
    page,
    picture,
    picture_of,
    section,
    table,
)
from semla_ros.evaluation.report.gap_files import contact_sheet
from semla_ros.evaluation.table import shown
from semla_ros.evaluation.timeline import timeline

OUT = "OUT_OF_LIBRARY"
_Row = list[str | int | float | None]


def loop_page(outcome: LoopOutcome) -> str:
    """Return the page as HTML."""
    missing = " and ".join(outcome.missing)
    first, second = (drive_course(x.footage, x.answers) for x in (outcome.first, outcome.second))
    fills = adapter_fills([*first.names, *second.names])
    sections = (
        section(
            "Both laps",
            _bars(outcome) + _laps_table(outcome),
            note="mIoU from one confusion matrix a domain, of the masks as published. The second "
            "lap is another drive: street, traffic and weather are new. Its bars: replayed with "
            "the library of the first lap, live after the loop, live with the whole library.",
        ),
        section(
            "Lap 1: the library lacks " + missing,
            timeline(first, swaps=outcome.first.answers.swaps, fills=fills),
        ),
        section(
            "Lap 2: the library was reloaded on the way",
            timeline(second, swaps=outcome.second.answers.swaps, fills=fills),
        ),
        section(
            "What was captured and trained",
            "".join(map(_gap, outcome.gaps)) or note("Nothing was captured."),
            note="Groups as `semla gaps` found and named them; labels are the world's truth.",
        ),
        section("What it cost", _frames_table(outcome) + _steps_table(outcome)),
    )
    return page(
        "Two laps through snow",
        f"A copy of the demo's library without {missing}: the drive finds the gap, keeps its "
        "frames, adapters are trained and let in, and the running node takes them.",
        sections,
        top=headlines(_headlines(outcome)),
    )


def _headlines(outcome: LoopOutcome) -> list[Headline]:
    first, second, missing = outcome.first, outcome.second, outcome.missing
    unknown = (100 * lap.share(OUT, missing) for lap in (first, second))
    captured = [sum(d.captured for d in lap.domains.values()) for lap in (first, second)]
    minutes = sum(step.seconds for step in outcome.steps) / 60
    return [
        Headline(
            f"{shown(100 * outcome.closed_together, 0)} %",
            "of the mIoU gap closed",
            "on another drive",
        ),
        Headline(
            " → ".join(f"{share:.0f} %" for share in unknown),
            "out of library",
            f"lap 1 → lap 2; known weather: {100 * second.share(OUT, outcome.known):.0f} %",
        ),
        Headline(
            f"{first.lost} + {second.lost}",
            "frames lost",
            f"of {first.sent} + {second.sent}; quiet: {outcome.full.lost} of {outcome.full.sent}",
        ),
        Headline(str(captured[0]), "frames captured", f"on lap 2: {captured[1]}"),
        Headline(f"{minutes:.0f} min", "all in all", f"{len(outcome.steps)} steps"),
    ]


def _bars(outcome: LoopOutcome) -> str:
    rows = [
        BarRow(name, (outcome.before[name], lap.miou, outcome.full.domains[name].miou))
        for name, lap in outcome.second.domains.items()
    ]
    series = ("library of lap 1", "after the loop", "whole library")
    return grouped_bars(rows, series, unit=" %", difference=True)


def _laps_table(outcome: LoopOutcome) -> str:
    header = ("domain", "in the library")
    columns = ("mIoU %", "support", "low %", "out of library %", "captured")
    laps = {"lap 1": outcome.first, "lap 2": outcome.second, "whole": outcome.full}
    rows: list[_Row] = []
    for name in outcome.second.domains:
        row: _Row = [name, "from lap 2 on" if name in outcome.missing else "yes"]
        for lap in laps.values():
            row += _cells(lap, name)
        closed = outcome.closed.get(name, math.nan)
        rows.append([*row, 100 * closed])
    named = [f"{lap}: {column}" for lap in laps for column in columns]
    return table((*header, *named, "gap closed %"), rows, digits=1)


def _cells(lap: Lap, name: str) -> _Row:
    each = lap.domains[name]
    shares = [100 * each.levels.get(level, 0.0) if each.frames else None for level in ("LOW", OUT)]
    return [each.miou, each.support, *shares, each.captured]


def _gap(gap: FoundGap) -> str:
    frames = ", ".join(f"{count} of {domain}" for domain, count in gap.domains.items())
    sheet = picture_of(contact_sheet([gap.pictures]), ".jpg")
    body = note(f"{gap.name}: {frames}") + picture(sheet, alt=f"Frames of {gap.name}")
    if gap.verdict is None:
        return body + note(f"No adapter: {gap.why_not}")
    rows = [
        [each.domain, each.frames, *map(_percent, (each.before, each.after, each.share))]
        for each in gap.verdict.trials
    ]
    header = ("domain", "frames", "without it %", "with it %", "its weight %")
    why = "It pays and harms nobody: let in." if gap.verdict.passed else "In quarantine: "
    return body + table(header, rows, digits=1) + note(why + "; ".join(gap.verdict.reasons))


def _percent(share: float) -> float | None:
    return 100 * share if math.isfinite(share) else None


def _frames_table(outcome: LoopOutcome) -> str:
    laps = {
        "lap 1, capturing": outcome.first,
        "lap 2, capturing, reloaded": outcome.second,
        "lap 2, whole library, neither": outcome.full,
    }
    rows: list[_Row] = [
        [
            name,
            lap.sent,
            lap.lost,
            lap.latency_ms.get("p50"),
            lap.latency_ms.get("p99"),
            sum(swap.committed for swap in lap.answers.swaps),
            max((s.stall_ms for s in lap.answers.swaps if s.committed), default=None),
        ]
        for name, lap in laps.items()
    ]
    header = (
        "drive",
        "images",
        "lost",
        "to mask p50, ms",
        "p99, ms",
        "swaps",
        "longest stall, ms",
    )
    return table(header, rows, digits=1)


def _steps_table(outcome: LoopOutcome) -> str:
    rows: list[_Row] = [[step.what, step.seconds] for step in outcome.steps]
    rows.append(["together", sum(step.seconds for step in outcome.steps)])
    return table(("step", "s"), rows, digits=1, total=True)
