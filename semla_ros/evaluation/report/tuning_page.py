"""What tuning found: as parameters, as numbers, as a page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import yaml

from semla_ros.evaluation.analysis.archive import ArchiveScore
from semla_ros.evaluation.analysis.mix_sweep import Choice, MixSweep
from semla_ros.evaluation.analysis.rerun import GateScore
from semla_ros.evaluation.analysis.summary import MEANS
from semla_ros.evaluation.analysis.thresholds import Thresholds
from semla_ros.evaluation.drawing import charted
from semla_ros.evaluation.files import json_text, write_file
from semla_ros.evaluation.page import (
    note,
    page,
    section,
    table,
    table_section,
    verdict_list,
    write_page,
)
from semla_ros.evaluation.report.plots import heatmap, lines
from semla_ros.evaluation.table import Cell, ResultTable

PARAMETERS, NUMBERS, PAGE = "params.yaml", "tune.json", "index.html"


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was found.

    Attributes:
        parameters: Parameters that should differ from the default.
        why: A sentence for each decision.
        retrieval: None without recordings.
        current: The bundle's own choice among the tried ones.
        gate: Every setting of the gate; empty without studies.
        gate_choice: The one taken.
        archive: One fused model for each group of frames; empty where not asked for.
        thresholds: Of novelty and support; None where no domain has an adapter.
    """

    parameters: Mapping[str, float | int | str]
    why: tuple[str, ...]
    retrieval: MixSweep | None
    current: Choice
    gate: tuple[GateScore, ...]
    gate_choice: GateScore | None
    archive: tuple[ArchiveScore, ...] = ()
    thresholds: Thresholds | None = None


def tuning_page(tuned: Tuned) -> str:
    """Return the page as HTML."""
    rows: list[tuple[Cell, ...]] = [(k, v) for k, v in tuned.parameters.items()]
    chosen = table(("parameter", "value"), rows, digits=4) if rows else ""
    words = verdict_list(f"{line}." for line in tuned.why)
    sections = [section("What was chosen", words + chosen)]
    if tuned.retrieval is not None:
        sections += _retrieval(tuned.retrieval, tuned.current)
    if tuned.gate:
        sections.append(_gate(tuned))
    if tuned.thresholds is not None:
        sections.append(_thresholds(tuned.thresholds))
    if tuned.archive:
        sections.append(_archive(tuned))
    return page(
        "Tuning",
        "Settings for a deployment, from recordings of it.",
        sections,
        footer="Settings chosen and measured on the same frames look better than they are: hold "
        "them against other recordings.",
    )


def _retrieval(sweep: MixSweep, current: Choice) -> list[str]:
    distances = list(dict.fromkeys(s.choice.distance for s in sweep.scores))
    about = (
        f"h-mean of mIoU in percent on {sweep.frames} sampled frames ({sweep.masks} masks; equal "
        f"mixes share one). The frame marks the best; the bundle has temperature "
        f"{current.temperature:.4g}, top_k {current.top_k}, {current.distance}. SemLA's Figure 10."
    )
    sections = [
        section(f"Temperature and top_k, {d}", charted(lambda d=d: _map(sweep, d)), note=about)  # type: ignore[misc]
        for d in distances
    ]
    best = distance_table(sweep)
    if best is not None:
        sections.append(table_section(best))
    return [*sections, *map(note, sweep.notes)]


def _map(sweep: MixSweep, distance: str) -> str:
    scores = [s for s in sweep.scores if s.choice.distance == distance]
    temperatures = sorted({s.choice.temperature for s in scores})
    top_ks = sorted({s.choice.top_k for s in scores})
    values = np.full((len(top_ks), len(temperatures)), math.nan)
    for score in scores:
        row, column = (
            top_ks.index(score.choice.top_k),
            temperatures.index(score.choice.temperature),
        )
        values[row, column] = score.h_mean
    return heatmap(
        values,
        [str(k) for k in top_ks],
        [f"{t:.4g}" for t in temperatures],
        xlabel=f"temperature ({distance})",
        ylabel="top_k",
    )


def distance_table(sweep: MixSweep) -> ResultTable | None:
    """Return each distance at its best settings (SemLA's Table 5); None for a single one."""
    distances = list(dict.fromkeys(s.choice.distance for s in sweep.scores))
    if len(distances) < 2:
        return None
    rows: list[tuple[Cell, ...]] = []
    for distance in distances:
        best = sweep.best(distance)
        chosen = (distance, f"{best.choice.temperature:.4g}", best.choice.top_k)
        rows.append((*chosen, *best.domains.values(), best.h_mean, best.mean))
    names = tuple(sweep.scores[0].domains)
    header = ("distance", "temperature", "top_k", *names, *MEANS)
    note = "Each distance at its own best temperature and top_k, mIoU in percent."
    return ResultTable("distances", "Distances side by side", header, tuple(rows), note)


def _gate(tuned: Tuned) -> str:
    rows: list[tuple[Cell, ...]] = [
        (s.ema_time_s, s.swap_trigger, s.swaps_per_1000, s.mismatch) for s in tuned.gate
    ]
    header = ("ema_time_s", "swap_trigger", "swaps per 1,000 frames", "mismatch")
    about = (
        "Mismatch is the mean total variation between the mix that serves and the one that "
        "retrieval picks for the frame alone: what is lost by not following, before any mask."
    )
    series = {
        f"ema_time_s {time:g}": [
            (s.swaps_per_1000, s.mismatch) for s in tuned.gate if s.ema_time_s == time
        ]
        for time in dict.fromkeys(s.ema_time_s for s in tuned.gate)
    }
    body = charted(lambda: lines(series, xlabel="swaps per 1,000 frames", ylabel="mismatch"))
    return section(
        "Filter and debounce", body + table(header, rows, digits=2, sortable=True), note=about
    )


def _thresholds(found: Thresholds) -> str:
    rows: list[tuple[Cell, ...]] = [
        (
            "in force" if choice is found.now else "",
            100 * choice.held_out,
            100 * choice.upper,
            choice.out_of_library,
            100 * choice.found,
            choice.support_low,
            100 * choice.found_low,
        )
        for choice in (found.now, *found.choices)
    ]
    header = (
        "", "false alarms %", "95 % sure below", "out_of_library", "unknown found %",
        "support_low", "unknown low %",
    )  # fmt: skip
    about = (
        f"Filtered readings, as the node judges them, of {found.known} frames of domains with an "
        f"adapter and {found.unknown} without. False alarms are those on frames whose recording "
        "(of fewer than three: third of it) had no part in setting the threshold; the bound "
        f"counts the known frames as {found.independent:.0f} independent ones."
    )
    return section("Where OUT_OF_LIBRARY and LOW begin", table(header, rows, digits=2), note=about)


def _archive(tuned: Tuned) -> str:
    *grouped, alone = tuned.archive
    rows: list[tuple[Cell, ...]] = [
        (
            str(s.groups) if s is not alone else "per frame",
            s.fusions,
            100 * (1 - s.fusions / max(alone.fusions, 1)),
            s.h_mean,
            s.h_mean - alone.h_mean,
        )
        for s in (*grouped, alone)
    ]
    header = ("fused models", "fusions", "saved %", "h-mean %", "points against per frame")
    about = (
        "An archive needs no gate: its frames are grouped by their embeddings first (k-means), "
        "and each group gets one fused model (supplement E of SemLA)."
    )
    return section("Batch mode for an archive", table(header, rows, digits=1), note=about)


def write_tuning(tuned: Tuned, out: Path) -> tuple[Path, ...]:
    """Return the files written into `out`: parameters, numbers and page.

    Raises:
        EvaluationError: One cannot be written.
    """
    write_page(out / PAGE, tuning_page(tuned))
    return (
        write_file(out / PARAMETERS, parameter_yaml(tuned)),
        write_file(out / NUMBERS, json_text(asdict(tuned))),
        out / PAGE,
    )


def parameter_yaml(tuned: Tuned) -> str:
    """Return a ROS parameter file that the launch file takes as `params_file:=`."""
    words = "".join(f"#   {line}\n" for line in tuned.why)
    body = {"/**": {"ros__parameters": dict(tuned.parameters)}}
    head = (
        "# Written by semla tune. What is not named here keeps its default.\n"
        "#   ros2 launch semla_ros drive.launch.py params_file:=<this file>\n"
    )
    return head + words + yaml.safe_dump(body, sort_keys=False)
