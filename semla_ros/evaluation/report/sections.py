"""The sections of a study's page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from semla_ros.core.types import BASE
from semla_ros.evaluation.analysis.calibration import (
    TO_BEAT,
    CalibrationReport,
    HeldOut,
    reliability,
)
from semla_ros.evaluation.analysis.detection import Association, BadMasks
from semla_ros.evaluation.analysis.drive_tables import curve_table, drive_tables
from semla_ros.evaluation.analysis.frames import OUT_OF_LIBRARY, FrameTable
from semla_ros.evaluation.analysis.summary import (
    class_table,
    contribution_table,
    means,
    miou_table,
    swap_table,
    total_iou,
)
from semla_ros.evaluation.drawing import Fill, adapter_fills, charted
from semla_ros.evaluation.page import (
    BadFrame,
    Headline,
    note,
    section,
    table,
    table_section,
    warning,
    worst_grid,
)
from semla_ros.evaluation.report.findings import Findings
from semla_ros.evaluation.report.plots import lines, reliability_plot, support_scatter
from semla_ros.evaluation.study.study import ZERO_SHOT, SequenceResult, Study
from semla_ros.evaluation.table import Cell, ResultTable, table_of
from semla_ros.evaluation.timeline import Course, timeline

MAX_TIMELINES = 4
TIMELINE_SHARE = 0.02
"""Shares below are drawn as part of nothing: hundreds of slivers tell nobody anything."""
_CLASS_NOTE = re.compile(r"(\d+ of \d+ )?classes (of|that) the ")


def page_fills(study: Study) -> dict[str, Fill]:
    """Return how the page draws each adapter and the domain of its name, on every chart."""
    domains = {d for r in study.recordings for d in r.places.tolist()}
    return adapter_fills({*study.info.adapters, *domains})


def class_notes(study: Study) -> str:
    """Return what of the classes no headline counts, to stand below the headlines."""
    return "".join(warning(n) for n in _notes(study) if _CLASS_NOTE.match(n))


def _notes(study: Study) -> list[str]:
    notes = [n for r in study.recordings for n in r.notes] + list(study.notes)
    return list(dict.fromkeys(notes))


def headline_numbers(study: Study, found: Findings) -> list[Headline]:
    """Return the big numbers on top."""
    items = []
    for name, label in ((found.strategy, "mIoU (h-mean) with adaptation"), (ZERO_SHOT, "without")):
        if name in study.info.strategies and found.scored:
            h_mean, mean = means(study, name)
            counted = int(np.isfinite(total_iou(study, name)).sum())
            detail = f"{name}, mean {mean:.1f} %, {counted} of {len(study.info.classes)} classes"
            items.append(Headline(f"{h_mean:.1f} %", label, detail))
    if found.calibration is not None:
        items.append(
            Headline(
                f"{100 * found.calibration.coverage:.0f} %",
                "of frames above the promised bound",
                f"domains held out, target {100 * found.calibration.target:.0f} %",
            )
        )
    known = found.table.level != ""
    if known.any():
        out = 100 * float((found.table.level[known] == OUT_OF_LIBRARY).mean())
        items.append(Headline(f"{out:.0f} %", "of frames out of the library"))
    scored = int(sum(r.scored.sum() for r in study.recordings))
    items.append(Headline(str(study.frames), "frames", f"{scored} with ground truth"))
    return items


def result_tables(study: Study, found: Findings) -> list[ResultTable]:
    """Return the tables of mIoU, classes, cost and contribution; empty ones are left out."""
    tables: list[ResultTable | None] = [swap_table(study)]
    if found.scored:
        tables = [miou_table(study), class_table(study), *tables, contribution_table(study)]
    return [t for t in tables if t is not None and t.rows]


def support_sections(found: Findings, fills: Mapping[str, Fill]) -> list[str]:
    """Return what support is worth: scatter, calibration, held-out domains, signals."""
    if not found.scored or not len(found.table.judged):
        return []
    report = found.calibration
    body = charted(lambda: support_scatter(found.table, fills))
    about = "One mark a frame (SemLA's Figure 9)."
    sections = [section("Support score and mIoU", body, note=about)]
    if report is not None:
        sections.append(_promise(found.table, report))
    if found.associations:
        sections.append(_signals(found))
    return sections


def _promise(frames: FrameTable, report: CalibrationReport) -> str:
    """Return the promise domain by domain, each held out."""
    rivals = ", ".join(f"{name} by {100 * e:.1f}" for name, e in report.errors.items())
    about = (
        f"Line and bound were made anew without each domain and then held against it. The "
        f"expected mIoU errs by {100 * report.error:.1f} points, {rivals}. Frames of a drive "
        f"resemble each other, so blocks weigh alike. Frames out of the library, and masks whose "
        f"signals lie outside the range of the fit, get no promise."
    )
    if report.refusal:
        about += f" Not to be published: {report.refusal}."
    found = table_of(
        "The promise, tested on domains it has not seen",
        report.held_out,
        {
            "held-out domain": lambda h: h.domain,
            "frames": lambda h: h.frames,
            "promised %": lambda h: 100 * h.promised,
            "bound holds %": lambda h: 100 * h.coverage,
            "error": lambda h: 100 * h.error,
            **{f"error of {name}": partial(_error_of, name) for name in TO_BEAT},
            "bound %": lambda h: 100 * h.lower,
            "mIoU %": lambda h: 100 * h.miou,
        },
        note=about,
    )
    bins = reliability(report, frames)
    return table_section(found, after=charted(lambda: reliability_plot(bins)))


def _error_of(name: str, held_out: HeldOut) -> float:
    return 100 * held_out.errors[name]


def _auroc(bad: BadMasks, signal: Association) -> float:
    return bad.auroc[signal.signal]


def _signals(found: Findings) -> str:
    shown = table_of(
        "Which signal tells",
        found.associations,
        {
            "signal": lambda a: a.signal.replace("_", " "),
            "Spearman": lambda a: a.spearman,
            "Pearson": lambda a: a.pearson,
            "within a domain": lambda a: a.within_domains,
            **{f"AUROC below {100 * b.threshold:.0f} %": partial(_auroc, b) for b in found.bad},
        },
        note="How closely each signal follows a frame's mIoU, and how well it finds bad masks "
        "(0.5 is no use). Confidence is the baseline that needs no library; expected is the "
        "promise, made without the frame's own domain, where anything is promised.",
    )
    return table_section(shown, digits=2)


def drive_sections(study: Study) -> list[str]:
    """Return the tables of drives through several domains, and the curve over triggers."""
    sections = [table_section(t) for r in study.recordings for t in drive_tables(study, r)]
    curve = curve_table(study)
    if curve is not None:
        saved = [(name, x, y) for name, x, y, *_ in curve.rows if isinstance(x, float)]
        series = {str(name): [(x, float(str(y)))] for name, x, y in saved}
        labels = {"xlabel": "fusions saved, %", "ylabel": "mIoU points lost"}
        sections.append(table_section(curve, before=charted(lambda: lines(series, **labels))))
    return sections


def timeline_sections(study: Study, strategy: str, fills: Mapping[str, Fill]) -> list[str]:
    """Return the timelines of the first recordings."""
    sections = []
    for recording in study.recordings[:MAX_TIMELINES]:
        if strategy not in recording.results or recording.frames < 2:
            continue
        course = _course(recording, strategy, study.info.adapters)
        drawing = timeline(course, support_low=study.info.support_low, fills=fills)
        sections.append(section(f"Mix and support over {recording.name}", drawing))
    if len(study.recordings) > MAX_TIMELINES and sections:
        more = len(study.recordings) - MAX_TIMELINES
        sections.append(note(f"{more} more recordings are in frames.npz and frames.csv."))
    return sections


def _course(recording: SequenceResult, strategy: str, adapters: Sequence[str]) -> Course:
    weights = recording.results[strategy].weights
    return Course(
        recording.stamps_ns,
        (*adapters, BASE),
        np.where(weights > TIMELINE_SHARE, weights, 0.0),
        recording.support,
        recording.smoothed,
        recording.levels,
        recording.domains,
    )


def worst_section(frames: Sequence[BadFrame]) -> list[str]:
    """Return the worst frames as pictures."""
    if not frames:
        return []
    about = "Wrong pixels are orange in the last column; what has no truth is not scored."
    return [section(f"The {len(frames)} worst frames", worst_grid(frames), note=about)]


def origin_section(study: Study, found: Findings) -> str:
    """Return how the numbers were made."""
    info = study.info
    skipped = sum(len(r.skipped) for r in study.recordings)
    rows: list[tuple[Cell, ...]] = [
        ("recordings", ", ".join(r.name for r in study.recordings)),
        ("frames skipped", skipped),
        ("bundle", f"{info.bundle} ({info.bundle_sha256[:12]})"),
        ("engine", info.engine),
        ("label map", info.label_map or "none"),
        ("left out of the library", info.leave_out or "nothing"),
        ("parameters", ", ".join(f"{k} = {_short(v)}" for k, v in info.parameters.items())),
        ("versions", ", ".join(f"{k} {v}" for k, v in info.versions.items())),
    ]
    notes = [n for n in _notes(study) if not _CLASS_NOTE.match(n)]
    body = table(("", ""), rows)
    body += "".join(warning(n) for n in dict.fromkeys((*notes, *found.missing)))
    return section("How this was made", body)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, (float, np.floating)) else str(value)
