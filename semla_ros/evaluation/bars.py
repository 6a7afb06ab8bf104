"""Horizontal bars: values side by side, and weights stacked (SemLA's Figure 8)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from semla_ros.core.errors import EvaluationError
from semla_ros.core.shown import shown
from semla_ros.evaluation.drawing import (
    ALERT,
    INK,
    MUTED,
    Fill,
    adapter_legend,
    charted,
    figure,
    plot,
)
from semla_ros.evaluation.page import Key, legend

SERIES_COLORS = ("#b9c2cd", "#1f4e79", "#d98e04", "#44aa99")


@dataclass(frozen=True, slots=True)
class BarRow:
    """One row: a label and a value for each series; NaN is shown as not scored."""

    label: str
    values: tuple[float, ...]


def grouped_bars(
    rows: Sequence[BarRow], series: Sequence[str], *, unit: str = "", difference: bool = False
) -> str:
    """Return the bars as HTML, with a legend; empty without rows.

    Args:
        rows: From top to bottom.
        series: Names of the values in each row, at most four.
        unit: Written behind every value.
        difference: Writes the second value minus the first at the end of each row.

    Raises:
        EvaluationError: A row has another number of values than there are series, or there are
            too many series.
    """
    if len(series) > len(SERIES_COLORS) or any(len(r.values) != len(series) for r in rows):
        raise EvaluationError(
            f"expected rows of {len(series)} values and at most {len(SERIES_COLORS)} series, "
            f"got {[len(r.values) for r in rows]!r}"
        )
    if not rows:
        return ""
    keys = legend(Key(n, c) for n, c in zip(series, SERIES_COLORS, strict=False))
    drawn = charted(lambda: _grouped(rows, series, unit, difference))
    return f'<div class="bars">{keys}{drawn}</div>'


def _grouped(rows: Sequence[BarRow], series: Sequence[str], unit: str, difference: bool) -> str:
    made, (axes,) = figure((0.5 + (0.16 * len(series) + 0.14) * len(rows),), width=10.0)
    height = 0.8 / len(series)
    for number in range(len(series)):
        for place, row in enumerate(rows):
            value, y = row.values[number], place - 0.4 + height * (number + 0.5)
            if math.isfinite(value):
                axes.barh(y, value, 0.92 * height, color=SERIES_COLORS[number])
            text = f" {value:.1f}{unit}" if math.isfinite(value) else " not scored"
            color = INK if math.isfinite(value) else MUTED
            axes.text(
                max(value, 0.0) if math.isfinite(value) else 0.0, y, text, va="center",
                fontsize=8, color=color,
            )  # fmt: skip
    for place, row in enumerate(rows if difference and len(series) > 1 else ()):
        change = row.values[1] - row.values[0]
        if math.isfinite(change):
            axes.text(
                1.08, place, f"{change:+.1f}{unit}", transform=axes.get_yaxis_transform(),
                ha="right", va="center", fontweight="bold", color=INK if change >= 0 else ALERT,
            )  # fmt: skip
    axes.margins(x=0.06)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [shown(row.label) for row in rows])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(unit.strip())
    return plot(made, f"Bars of {', '.join(series)} for {len(rows)} rows")


def weight_bars(weights: Mapping[str, Mapping[str, float]], fills: Mapping[str, Fill]) -> str:
    """Return the mean adapter weights of each domain as HTML, with a legend; empty without any.

    Args:
        weights: Domain -> adapter -> mean weight, sum 1.
        fills: How the page draws each adapter.
    """
    if not weights:
        return ""
    names = [n for row in weights.values() for n, share in row.items() if share > 0]
    names = list(dict.fromkeys(names))
    drawn = charted(lambda: _stacked(weights, names, fills))
    return f'<div class="bars">{adapter_legend(fills, names)}{drawn}</div>'


def _stacked(
    weights: Mapping[str, Mapping[str, float]], names: Sequence[str], fills: Mapping[str, Fill]
) -> str:
    made, (axes,) = figure((0.5 + 0.3 * len(weights),), width=10.0)
    floor = [0.0] * len(weights)
    for name in names:
        shares = [100 * row.get(name, 0.0) for row in weights.values()]
        axes.barh(range(len(weights)), shares, 0.76, left=floor, **fills[name].style)
        for place, (left, share) in enumerate(zip(floor, shares, strict=True)):
            if share > 0.95 * len(name):
                axes.text(
                    left + share / 2, place, shown(name), ha="center", va="center", fontsize=8
                )
        floor = [left + share for left, share in zip(floor, shares, strict=True)]
    axes.set_xlim(0, 100)
    axes.set_ylim(len(weights) - 0.5, -0.5)
    axes.set_yticks(range(len(weights)), [shown(domain) for domain in weights])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.grid(visible=False)
    axes.set_xlabel("%")
    return plot(made, f"Mean adapter weights of {len(weights)} domains")
