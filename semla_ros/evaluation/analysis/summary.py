"""The tables of a study in the papers' layout: plain rows, mIoU in percent."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from semla_ros.core.types import Float64Array
from semla_ros.data.metrics import class_iou, mean_iou
from semla_ros.evaluation.study.scores import domain_counts, means_over
from semla_ros.evaluation.study.study import FIXED, ORACLE, SEMLA, ZERO_SHOT, Study
from semla_ros.evaluation.table import Cell, ResultTable

MEANS = ("h-mean", "mean")


def strategy_miou(study: Study, strategy: str) -> dict[str, float]:
    """Return domain -> mIoU in percent; NaN where no class has truth."""
    counts = domain_counts(study, strategy)
    return {domain: 100 * float(mean_iou(each)) for domain, each in counts.items()}


def means(study: Study, strategy: str) -> tuple[float, float]:
    """Return h-mean and arithmetic mean over the domains that count, percent; NaN without any."""
    found = means_over(strategy_miou(study, strategy), study.info.excluded)
    return found["h_mean"], found["mean"]


def miou_table(study: Study) -> ResultTable:
    """Return strategies as rows and domains as columns, h-mean and mean last."""
    scores = {s: strategy_miou(study, s) for s in study.info.strategies}
    domains = list(dict.fromkeys(d for each in scores.values() for d in each))
    rows: list[tuple[Cell, ...]] = [
        (s, *(scores[s].get(d, math.nan) for d in domains), *means(study, s)) for s in scores
    ]
    out = f" without {', '.join(study.info.excluded)}" if study.info.excluded else ""
    note = "mIoU in percent from one confusion matrix a domain; h-mean and mean over domains" + out
    if study.info.leave_out:
        note += f"; left out of the library: {study.info.leave_out}"
    return ResultTable(
        "miou", "mIoU by domain", ("strategy", *domains, *MEANS), tuple(rows), note + ".", "column"
    )


def class_table(study: Study) -> ResultTable:
    """Return classes as rows and strategies as columns, IoU in percent over all frames."""
    iou = {s: 100 * total_iou(study, s) for s in study.info.strategies}
    rows: list[tuple[Cell, ...]] = [
        (name, *(float(iou[s][i]) for s in iou)) for i, name in enumerate(study.info.classes)
    ]
    note = "IoU in percent from one confusion matrix over all scored frames."
    return ResultTable("classes", "IoU by class", ("class", *iou), tuple(rows), note, "row")


def total_iou(study: Study, strategy: str) -> Float64Array:
    """Return the IoU of each class over all scored frames, (T,); NaN without truth."""
    counts = domain_counts(study, strategy)
    if not counts:
        return np.full(len(study.info.classes), np.nan)
    total: Float64Array = class_iou(np.sum([*counts.values()], axis=0))
    return total


def swap_table(study: Study) -> ResultTable:
    """Return what adapting costs each strategy: swaps, frames fused, mIoU against per frame."""
    reference, _ = means(study, SEMLA) if SEMLA in study.info.strategies else (math.nan, 0.0)
    rows: list[tuple[Cell, ...]] = []
    for strategy in study.info.strategies:
        results = [r.results[strategy] for r in study.recordings if strategy in r.results]
        frames = sum(len(t.swapped) for t in results)
        if not frames:
            continue
        swaps = int(sum(t.swapped.sum() for t in results))
        h_mean, _ = means(study, strategy)
        rows.append((strategy, frames, swaps, 1000 * swaps / frames, h_mean, h_mean - reference))
    header = ("strategy", "frames", "swaps", "per 1,000 frames", "h-mean", "against semla")
    note = "A swap fuses adapters and loads weights; the last column is mIoU points."
    return ResultTable("swaps", "What adapting costs", header, tuple(rows), note)


def contribution_table(study: Study) -> ResultTable | None:
    """Return IoU points each adapter adds to each class against the base; None without any.

    An adapter is seen alone where a `fixed:NAME=1` strategy ran; the oracle stands for the
    adapter of each domain on that domain's frames.
    """
    if ZERO_SHOT not in study.info.strategies:
        return None
    base = domain_counts(study, ZERO_SHOT)
    columns: dict[str, Float64Array] = {}
    for strategy in study.info.strategies:
        if strategy.startswith(FIXED):
            gain = total_iou(study, strategy) - total_iou(study, ZERO_SHOT)
            columns[strategy.removeprefix(FIXED)] = gain
    for domain, counts in domain_counts(study, ORACLE).items():
        if domain in study.info.adapters and domain not in columns and domain in base:
            columns[domain] = class_iou(counts) - class_iou(base[domain])
    if not columns:
        return None
    rows: list[tuple[Cell, ...]] = [
        (name, *(100 * float(gain[i]) for gain in columns.values()))
        for i, name in enumerate(study.info.classes)
    ]
    note = (
        "IoU points against the unadapted base: an adapter alone on all frames (fixed) or on the "
        "frames of its own domain (oracle). Below zero it takes from that class."
    )
    title = "What each adapter adds to each class"
    return ResultTable("contribution", title, ("class", *columns), tuple(rows), note)


def weights_by_domain(study: Study, strategy: str) -> dict[str, dict[str, float]]:
    """Return domain -> adapter (base last) -> mean weight over its frames (Figure 8)."""
    names = (*study.info.adapters, "base")
    sums: dict[str, Float64Array] = {}
    frames: dict[str, int] = {}
    for recording in study.recordings:
        result = recording.results.get(strategy)
        if result is None:
            continue
        domains = recording.places
        for domain in map(str, np.unique(domains)):
            chosen = domains == domain
            total = result.weights[chosen].astype(np.float64).sum(axis=0)
            sums[domain] = sums.get(domain, np.zeros(len(names))) + total
            frames[domain] = frames.get(domain, 0) + int(chosen.sum())
    return {
        domain: {
            name: float(v) / frames[domain] for name, v in zip(names, sums[domain], strict=True)
        }
        for domain in sorted(sums)
    }


def comparison_table(studies: Sequence[Study], names: Sequence[str]) -> ResultTable:
    """Return every strategy of every study as a row: distances, navigators, settings (Table 5, 7).

    Columns are the domains that all studies have, so that means compare.
    """
    found = [
        (label, strategy, strategy_miou(study, strategy), study.info.excluded)
        for study, label in zip(studies, names, strict=True)
        for strategy in study.info.strategies
    ]
    common = [d for d in (found[0][2] if found else {}) if all(d in f[2] for f in found)]
    rows: list[tuple[Cell, ...]] = []
    for label, strategy, scores, excluded in found:
        shared = {d: scores[d] for d in common}
        mean = means_over(shared if common else scores, excluded)
        rows.append((label, strategy, *shared.values(), mean["h_mean"], mean["mean"]))
    note = f"mIoU in percent on the {len(common)} domains that every study scored."
    if not common:
        note = (
            "The studies have no domain in common: each mean is over a study's own domains, in "
            "percent, and the means do not compare."
        )
    header = ("study", "strategy", *common, *MEANS)
    return ResultTable("comparison", "Studies side by side", header, tuple(rows), note, "column")
