"""A study in a few lines of text, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Collection

from semla_ros.evaluation.study.scores import scored_domains, summary
from semla_ros.evaluation.study.study import Study


def score_lines(study: Study) -> list[str]:
    """Return mIoU in percent: a line for each strategy, a column for each domain."""
    rows = summary(study)["strategies"]
    domains = scored_domains(study)
    width = max(map(len, rows), default=0)
    heads = [*domains, "h-mean", "mean"]
    lines = [f"{'mIoU, %':{width}}  " + "  ".join(f"{h:>{max(len(h), 5)}}" for h in heads)]
    for name, row in rows.items():
        values = [*(row["domains"].get(d) for d in domains), row["h_mean"], row["mean"]]
        cells = [f"{_percent(v):>{max(len(h), 5)}}" for v, h in zip(values, heads, strict=True)]
        lines.append(f"{name:{width}}  " + "  ".join(cells) + f"  {row['swaps']} swaps")
    return lines


def unscored(study: Study, labelled: Collection[str]) -> list[str]:
    """Return the recordings of `labelled`, those with labels, that have not one scored frame."""
    return [r.name for r in study.recordings if r.name in labelled and not r.scored.any()]


def _percent(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{100 * value:.2f}"
