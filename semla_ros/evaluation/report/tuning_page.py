"""What tuning found: as parameters, as numbers, as a page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import yaml

from semla_ros.evaluation.analysis.archive import ArchiveScore
from semla_ros.evaluation.analysis.mix_sweep import Choice, ChoiceScore, MixSweep
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
from semla_ros.evaluation.report.decisions import null_words
from semla_ros.evaluation.report.plots import heatmap, lines
from semla_ros.evaluation.table import ResultTable, table_of

PARAMETERS, NUMBERS, PAGE = "params.yaml", "tune.json", "index.html"


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was found.

    Attributes:
        parameters: Parameters that should differ from the default.
        why: A sentence for each decision.
        retrieval: None without recordings.
        nulls: The best of it with other null adapters, and with none.
        current: The bundle's own choice among the tried ones.
        gate: Every setting of the gate; empty without studies.
        gate_choice: The one taken.
        archive: One fused model for each group of frames; empty where not asked for.
        thresholds: Of novelty and support; None where no domain has an adapter.
    """

    parameters: Mapping[str, float | int | str]
    why: tuple[str, ...]
    retrieval: MixSweep | None
    nulls: MixSweep | None
    current: Choice
    gate: tuple[GateScore, ...]
    gate_choice: GateScore | None
    archive: tuple[ArchiveScore, ...] = ()
    thresholds: Thresholds | None = None


def tuning_page(tuned: Tuned) -> str:
    """Return the page as HTML."""
    rows = list(tuned.parameters.items())
    chosen = table(("parameter", "value"), rows, digits=4) if rows else ""
    words = verdict_list(f"{line}." for line in tuned.why)
    sections = [section("What was chosen", words + chosen)]
    if tuned.retrieval is not None:
        sections += _retrieval(tuned.retrieval, tuned.current)
    if tuned.nulls is not None:
        sections.append(_nulls(tuned.nulls))
    if tuned.gate:
        sections.append(_gate(tuned.gate))
    if tuned.thresholds is not None:
        sections.append(_thresholds(tuned.thresholds))
    if tuned.archive:
        sections.append(_archive(tuned.archive))
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
        section(f"Temperature and top_k, {d}", charted(partial(_map, sweep, d)), note=about)
        for d in distances
    ]
    best = distance_table(sweep)
    if best is not None:
        sections.append(table_section(best))
    return [*sections, *map(note, sweep.notes)]


def _nulls(sweep: MixSweep) -> str:
    found = table_of(
        "Null adapter",
        sorted(sweep.scores, key=lambda s: s.choice.null_distance),
        {
            "null_distance": lambda s: null_words(s.choice),
            **{d: partial(_miou, d) for d in sweep.scores[0].domains},
            MEANS[0]: lambda s: s.h_mean,
        },
        note="The base competes as if it were an adapter at this distance, mIoU in percent with "
        "the best of the settings above. It is for domains without an adapter: leave the frames' "
        "own out (--leave-out domain) to see what those would gain.",
    )
    return table_section(found)


def _map(sweep: MixSweep, distance: str) -> str:
    scores = [s for s in sweep.scores if s.choice.distance == distance]
    temperatures = sorted({s.choice.temperature for s in scores})
    top_ks = sorted({s.choice.top_k for s in scores})
    values = np.full((len(top_ks), len(temperatures)), math.nan)
    for score in scores:
        place = top_ks.index(score.choice.top_k), temperatures.index(score.choice.temperature)
        values[place] = score.h_mean
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
    return table_of(
        "Distances side by side",
        map(sweep.best, distances),
        {
            "distance": lambda s: s.choice.distance,
            "temperature": lambda s: f"{s.choice.temperature:.4g}",
            "top_k": lambda s: s.choice.top_k,
            **{d: partial(_miou, d) for d in sweep.scores[0].domains},
            MEANS[0]: lambda s: s.h_mean,
            MEANS[1]: lambda s: s.mean,
        },
        name="distances",
        note="Each distance at its own best temperature and top_k, mIoU in percent.",
    )


def _miou(domain: str, score: ChoiceScore) -> float:
    return score.domains[domain]


def _gate(scores: Sequence[GateScore]) -> str:
    found = table_of(
        "Filter and debounce",
        scores,
        {
            "ema_time_s": lambda s: s.ema_time_s,
            "swap_trigger": lambda s: s.swap_trigger,
            "swaps per 1,000 frames": lambda s: s.swaps_per_1000,
            "mismatch": lambda s: s.mismatch,
        },
        note="Mismatch is the mean total variation between the mix that serves and the one that "
        "retrieval picks for the frame alone: what is lost by not following, before any mask.",
    )
    series: dict[str, list[tuple[float, float]]] = {}
    for each in scores:
        line = series.setdefault(f"ema_time_s {each.ema_time_s:g}", [])
        line.append((each.swaps_per_1000, each.mismatch))
    drawn = charted(lambda: lines(series, xlabel="swaps per 1,000 frames", ylabel="mismatch"))
    return table_section(found, before=drawn, digits=2)


def _thresholds(found: Thresholds) -> str:
    shown = table_of(
        "Where OUT_OF_LIBRARY and LOW begin",
        (found.now, *found.choices),
        {
            "": lambda c: "in force" if c is found.now else "",
            "false alarms %": lambda c: 100 * c.held_out,
            "95 % sure below": lambda c: 100 * c.upper,
            "out_of_library": lambda c: c.out_of_library,
            "unknown found %": lambda c: 100 * c.found,
            "support_low": lambda c: c.support_low,
            "unknown low %": lambda c: 100 * c.found_low,
        },
        note=f"Filtered readings, as the node judges them, of {found.known} frames of domains "
        f"with an adapter and {found.unknown} without. False alarms are those on frames whose "
        "recording (of fewer than three: third of it) had no part in setting the threshold; the "
        f"bound counts the known frames as {found.independent:.0f} independent ones.",
    )
    return table_section(shown, digits=2, sortable=False)


def _archive(scores: Sequence[ArchiveScore]) -> str:
    alone = scores[-1]
    found = table_of(
        "Batch mode for an archive",
        scores,
        {
            "fused models": lambda s: "per frame" if s is alone else str(s.groups),
            "fusions": lambda s: s.fusions,
            "saved %": lambda s: 100 * (1 - s.fusions / max(alone.fusions, 1)),
            "h-mean %": lambda s: s.h_mean,
            "points against per frame": lambda s: s.h_mean - alone.h_mean,
        },
        note="An archive needs no gate: its frames are grouped by their embeddings first "
        "(k-means), and each group gets one fused model (supplement E of SemLA).",
    )
    return table_section(found, sortable=False)


def write_tuning(tuned: Tuned, out: Path) -> tuple[Path, ...]:
    """Return the files written into `out`: parameters, numbers and page.

    Raises:
        EvaluationError: One cannot be written.
    """
    write_page(out / PAGE, tuning_page(tuned))
    return (
        write_file(out / PARAMETERS, parameter_yaml(tuned)),
        write_file(out / NUMBERS, json_text(tuned)),
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
