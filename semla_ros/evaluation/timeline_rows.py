"""The rows of the timeline: stacked weights, support lines, level bands."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

from semla_ros.evaluation.svg import (
    GRID,
    INK,
    MUTED,
    Fill,
    element,
    nice_ticks,
    number,
    text,
    titled,
)

WIDTH, LEFT, RIGHT = 1000.0, 62.0, 14.0
MAX_POINTS = 900
LEVEL_FILLS: Mapping[str, tuple[str, str]] = {
    "OK": ("#bfe3dc", ""),
    "LOW": ("#e9a13b", "hatch"),
    "OUT_OF_LIBRARY": ("#b5432e", "cross"),
    "STALE": ("#8a939e", "hatch"),
}
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class TimelinePoint:
    """One frame of the timeline.

    Attributes:
        stamp_ns: Its stamp.
        weights: Adapter -> weight of the active mix, sum 1.
        score, smoothed: Support score of the frame and filtered; NaN where unknown.
        level: Support level, empty where unknown.
    """

    stamp_ns: int
    weights: Mapping[str, float]
    score: float = math.nan
    smoothed: float = math.nan
    level: str = ""


@dataclass(frozen=True, slots=True)
class Axis:
    """Time to the drawing's x."""

    start_ns: int
    end_ns: int

    def x(self, stamp_ns: int) -> float:
        """Return the x of a stamp."""
        span = max(1, self.end_ns - self.start_ns)
        return LEFT + (WIDTH - LEFT - RIGHT) * (stamp_ns - self.start_ns) / span

    def seconds(self, stamp_ns: int) -> float:
        """Return the time since the start."""
        return (stamp_ns - self.start_ns) * 1e-9


def runs(
    points: Sequence[TimelinePoint], key: Callable[[TimelinePoint], _T]
) -> list[tuple[_T, int, int]]:
    """Return (value, start, end) of the stretches on which `key` is constant, end to end."""
    starts = [(value, next(group).stamp_ns) for value, group in groupby(points, key)]
    ends = [start for _, start in starts[1:]] + [points[-1].stamp_ns]
    return [(value, start, end) for (value, start), end in zip(starts, ends, strict=True)]


def row_label(label: str, y: float) -> str:
    """Return a label left of the drawing."""
    return text(LEFT - 8.0, y, label, text_anchor="end", font_size=11, fill=MUTED)


def weights_row(
    points: Sequence[TimelinePoint],
    names: Sequence[str],
    fills: Mapping[str, Fill],
    axis: Axis,
    *,
    top: float,
    height: float,
) -> list[str]:
    """Return the stacked weights; a mix holds until the next, so bands are steps."""
    parts = [
        row_label(label, top + height * share + 4.0)
        for label, share in (("100 %", 0.0), ("50 %", 0.5), ("0 %", 1.0))
    ]
    for mix, start, end in runs(points, lambda p: tuple(sorted(p.weights.items()))):
        weights = dict(mix)
        x0, x1 = axis.x(start), axis.x(end)
        base = top + height
        for name in names:
            share = weights.get(name, 0.0) * height
            if share <= 0:
                continue
            base -= share
            box = {"x": x0, "y": base, "width": max(0.6, x1 - x0), "height": share}
            body = element("rect", fill=fills[name].color, stroke="#fff", stroke_width=0.7, **box)
            if fills[name].hatched:
                body += element("rect", fill="url(#hatch)", **box)
            if share > 15 and x1 - x0 > 7.0 * len(name) + 8:
                body += text(
                    (x0 + x1) / 2,
                    base + share / 2 + 4,
                    name,
                    text_anchor="middle",
                    font_size=11,
                    fill=INK,
                )
            parts.append(titled(body, f"{name}: {weights[name]:.0%}"))
    return parts


def support_row(
    points: Sequence[TimelinePoint], axis: Axis, *, top: float, height: float, support_low: float
) -> list[str]:
    """Return the support score per frame (thin) and filtered (thick), over its threshold."""
    finite = [v for p in points for v in (p.score, p.smoothed) if math.isfinite(v)]
    parts = [row_label("support", top - 6.0)]
    if not finite:
        note = "no support score: the bundle has no navigator"
        return [*parts, text(LEFT, top + height / 2, note, font_size=12, fill=MUTED)]
    high = max([*finite, support_low * 1.15]) * 1.06 or 1.0

    def y(value: float) -> float:
        return top + height * (1.0 - value / high)

    for tick in nice_ticks(0.0, high, count=3):
        line = {"x1": LEFT, "x2": WIDTH - RIGHT, "y1": y(tick), "y2": y(tick)}
        parts.append(element("line", stroke=GRID, stroke_width=1, **line))
        parts.append(row_label(f"{tick:g}", y(tick) + 4.0))
    if support_low > 0:
        line = {"x1": LEFT, "x2": WIDTH - RIGHT, "y1": y(support_low), "y2": y(support_low)}
        parts.append(
            element("line", stroke="#b26a00", stroke_width=1.2, stroke_dasharray="5 4", **line)
        )
        label = f"low below {support_low:.3g}"
        parts.append(
            text(
                WIDTH - RIGHT - 4,
                y(support_low) - 5,
                label,
                text_anchor="end",
                font_size=11,
                fill="#8a5200",
            )
        )
    raw = [(p.stamp_ns, p.score) for p in points]
    smooth = [(p.stamp_ns, p.smoothed) for p in points]
    parts.append(_line(raw, axis, y, stroke="#9fb3c8", stroke_width=1.0))
    parts.append(_line(smooth, axis, y, stroke="#1f4e79", stroke_width=2.2))
    return parts


def _line(
    series: Sequence[tuple[int, float]],
    axis: Axis,
    y: Callable[[float], float],
    **style: object,
) -> str:
    """Return a polyline of at most about `MAX_POINTS` points, extremes kept, gaps left open."""
    step = max(1, math.ceil(2 * len(series) / MAX_POINTS))
    kept: list[tuple[int, float]] = []
    for first in range(0, len(series), step):
        block = [s for s in series[first : first + step] if math.isfinite(s[1])]
        if not block:
            kept.append((0, math.nan))
            continue
        extremes = {min(block, key=lambda s: s[1]), max(block, key=lambda s: s[1])}
        kept += sorted(extremes)
    path, pen = [], "M"
    for stamp_ns, value in kept:
        if not math.isfinite(value):
            pen = "M"
            continue
        path.append(f"{pen}{number(axis.x(stamp_ns))} {number(y(value))}")
        pen = "L"
    return element("path", d="".join(path), fill="none", stroke_linejoin="round", **style)


def levels_row(points: Sequence[TimelinePoint], axis: Axis, *, top: float) -> list[str]:
    """Return the support levels as a band, told apart by pattern and name as well as colour."""
    parts = [row_label("level", top + 11.0)]
    for level, start, end in runs(points, lambda p: p.level):
        if not level:
            continue
        x0, x1 = axis.x(start), axis.x(end)
        color, pattern = LEVEL_FILLS[level]
        box = {"x": x0, "y": top, "width": max(0.8, x1 - x0), "height": 14.0}
        body = element("rect", fill=color, **box)
        if pattern:
            body += element("rect", fill=f"url(#{pattern})", **box)
        label = level.replace("_", " ").lower()
        if x1 - x0 > 6.5 * len(label) + 14:
            middle = (x0 + x1) / 2
            half = 3.3 * len(label) + 5
            body += element(
                "rect", x=middle - half, y=top + 1, width=2 * half, height=12.0, rx=3, fill="#fff"
            )
            body += text(middle, top + 10.5, label, text_anchor="middle", font_size=10.5, fill=INK)
        parts.append(titled(body, f"support level {label}"))
    return parts
