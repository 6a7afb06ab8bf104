"""Grouped horizontal bars as inline SVG: one row a domain, one bar a strategy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from semla_ros.errors import EvaluationError
from semla_ros.evaluation.svg import GRID, INK, MUTED, drawing, element, nice_ticks, text, titled

SERIES_COLORS = ("#b9c2cd", "#1f4e79", "#d98e04", "#44aa99")
WIDTH, LEFT, RIGHT, BAR, GAP, TOP = 1000.0, 150.0, 120.0, 13.0, 12.0, 8.0


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
    finite = [v for r in rows for v in r.values if math.isfinite(v)]
    top = max(finite, default=1.0) or 1.0
    pitch = BAR * len(series) + GAP
    height = TOP + pitch * len(rows)
    scale = (WIDTH - LEFT - RIGHT) / (top * 1.04)
    parts = _grid(top, scale, height, unit)
    for index, row in enumerate(rows):
        parts += _row(row, TOP + index * pitch, scale, series, unit)
        if difference and len(row.values) > 1:
            parts.append(_difference(row, TOP + index * pitch, len(series), unit))
    label = f"Bars of {', '.join(series)} for {len(rows)} rows"
    keys = "".join(
        f'<span class="key"><i class="swatch" style="background-color:{color}"></i>'
        f"{escape(name)}</span>"
        for name, color in zip(series, SERIES_COLORS, strict=False)
    )
    shown = drawing(parts, width=WIDTH, height=height + 24.0, label=label)
    return f'<div class="bars"><div class="legend">{keys}</div>{shown}</div>'


def _grid(top: float, scale: float, height: float, unit: str) -> list[str]:
    parts = []
    for tick in nice_ticks(0.0, top, count=5):
        x = LEFT + tick * scale
        parts.append(element("line", x1=x, x2=x, y1=0.0, y2=height, stroke=GRID))
        parts.append(
            text(x, height + 16, f"{tick:g}{unit}", text_anchor="middle", font_size=11, fill=MUTED)
        )
    return parts


def _row(row: BarRow, y: float, scale: float, series: Sequence[str], unit: str) -> list[str]:
    middle = y + BAR * len(series) / 2 + 4
    parts = [text(LEFT - 10, middle, row.label, text_anchor="end", font_size=13, fill=INK)]
    for index, value in enumerate(row.values):
        top = y + index * BAR
        if not math.isfinite(value):
            parts.append(text(LEFT + 6, top + 10.5, "not scored", font_size=11, fill=MUTED))
            continue
        width = max(0.5, value * scale)
        body = element(
            "rect",
            x=LEFT,
            y=top + 0.5,
            width=width,
            height=BAR - 1,
            fill=SERIES_COLORS[index],
            rx=1.5,
        )
        body += text(LEFT + width + 5, top + 10.5, f"{value:.1f}{unit}", font_size=11, fill=INK)
        parts.append(titled(body, f"{row.label}, {series[index]}: {value:.2f}{unit}"))
    return parts


def _difference(row: BarRow, y: float, bars: int, unit: str) -> str:
    change = row.values[1] - row.values[0]
    if not math.isfinite(change):
        return ""
    return text(
        WIDTH - 6,
        y + BAR * bars / 2 + 4,
        f"{change:+.1f}{unit}",
        text_anchor="end",
        font_size=13,
        font_weight=600,
        fill=INK if change >= 0 else "#b5432e",
    )
