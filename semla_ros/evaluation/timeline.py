"""The timeline of a drive as inline SVG: adapter weights, support score, levels, swaps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from semla_ros.answers import SwapEvent, known
from semla_ros.evaluation.result import ReplayResult
from semla_ros.evaluation.svg import (
    INK,
    MUTED,
    Fill,
    adapter_fills,
    drawing,
    element,
    legend,
    nice_ticks,
    number,
    text,
    titled,
)
from semla_ros.evaluation.timeline_rows import (
    LEFT,
    LEVEL_FILLS,
    RIGHT,
    WIDTH,
    Axis,
    TimelinePoint,
    levels_row,
    row_label,
    support_row,
    weights_row,
)
from semla_ros.types import BASE


@dataclass(frozen=True, slots=True)
class Stage:
    """A stretch of the drive with a name, e.g. its true domain."""

    name: str
    start_ns: int
    end_ns: int


_SWATCHES = {"": "", "hatch": "hatched", "cross": "crossed"}


def points_of(result: ReplayResult) -> tuple[TimelinePoint, ...]:
    """Return the timeline of a replay."""
    return tuple(
        TimelinePoint(
            frame.stamp_ns,
            dict(zip(frame.mix.names, frame.mix.weights, strict=True)),
            support.score if (support := known(frame.support)) else math.nan,
            support.smoothed if support else math.nan,
            frame.support.level if frame.support else "",
        )
        for frame in result.frames
    )


def timeline(
    points: Sequence[TimelinePoint],
    *,
    swaps: Sequence[SwapEvent] = (),
    stages: Sequence[Stage] = (),
    support_low: float = 0.0,
    fills: Mapping[str, Fill] | None = None,
) -> str:
    """Return the timeline as HTML: a legend and one drawing; empty without points.

    Args:
        points: In the order they were answered.
        swaps: Drawn as numbered markers, failed ones open.
        stages: Named stretches, drawn above.
        support_low: Threshold of the level LOW, drawn where above 0.
        fills: How the page draws each adapter; None on a page with one timeline.
    """
    if not points:
        return ""
    axis = Axis(min(p.stamp_ns for p in points), max(p.stamp_ns for p in points))
    names = _by_weight(points)
    fills = adapter_fills(names) if fills is None else fills
    parts, y = _stages(stages, axis, 22.0)
    parts += weights_row(points, names, fills, axis, top=y, height=150.0)
    y += 150.0 + 26.0
    parts += support_row(points, axis, top=y, height=110.0, support_low=support_low)
    y += 110.0 + 8.0
    parts += levels_row(points, axis, top=y)
    y += 16.0
    parts += _time_axis(axis, y)
    parts += _swaps(swaps, axis, bottom=y)
    parts.append(_cursor(axis, y))
    shown = drawing(parts, width=WIDTH, height=y + 34.0, label=_described(points, swaps))
    return f'<div class="timeline">{legend(fills, names)}{shown}{_level_legend(points)}</div>'


def _level_legend(points: Sequence[TimelinePoint]) -> str:
    """Return the names of the support levels that occur."""
    present = {p.level for p in points}
    keys = "".join(
        f'<span class="key"><i class="swatch {_SWATCHES[pattern]}" '
        f'style="background-color:{color}"></i>{level.replace("_", " ").lower()}</span>'
        for level, (color, pattern) in LEVEL_FILLS.items()
        if level in present
    )
    return f'<div class="legend">support level: {keys}</div>' if keys else ""


def _described(points: Sequence[TimelinePoint], swaps: Sequence[SwapEvent]) -> str:
    span = (points[-1].stamp_ns - points[0].stamp_ns) * 1e-9
    return (
        f"Timeline of {len(points)} frames over {span:.1f} seconds: adapter weights, support "
        f"score and {len(swaps)} swaps"
    )


def _by_weight(points: Sequence[TimelinePoint]) -> list[str]:
    """Return the adapter names, most used first, the base last."""
    sums: dict[str, float] = {}
    for point in points:
        for name, weight in point.weights.items():
            sums[name] = sums.get(name, 0.0) + weight
    return sorted(sums, key=lambda n: (n == BASE, -sums[n], n))


def _stages(stages: Sequence[Stage], axis: Axis, top: float) -> tuple[list[str], float]:
    parts: list[str] = []
    if not stages:
        return parts, top
    parts.append(row_label("scene", top + 14.0))
    for index, stage in enumerate(stages):
        x0, x1 = axis.x(stage.start_ns), axis.x(stage.end_ns)
        fill = "#eef1f5" if index % 2 else "#dfe5ec"
        body = element("rect", x=x0, y=top, width=max(0.0, x1 - x0), height=20.0, fill=fill)
        if x1 - x0 > 6.2 * len(stage.name):
            body += text(
                (x0 + x1) / 2, top + 14.0, stage.name, text_anchor="middle", font_size=11, fill=INK
            )
        parts.append(titled(body, stage.name))
    return parts, top + 30.0


def _time_axis(axis: Axis, y: float) -> list[str]:
    parts = []
    end = axis.seconds(axis.end_ns)
    for tick in nice_ticks(0.0, end, count=10):
        x = axis.x(axis.start_ns + round(tick * 1e9))
        parts.append(element("line", x1=x, x2=x, y1=y + 3, y2=y + 8, stroke=MUTED))
        parts.append(
            text(x, y + 22, f"{tick:g} s", text_anchor="middle", font_size=11, fill=MUTED)
        )
    return parts


def _swaps(swaps: Sequence[SwapEvent], axis: Axis, *, bottom: float) -> list[str]:
    """Return the swap markers, their numbers spread so that neighbours can be read."""
    parts = []
    inside = [s for s in swaps if axis.start_ns <= s.stamp_ns <= axis.end_ns]
    xs = [axis.x(s.stamp_ns) for s in inside]
    crowded = any(b - a < 16 for a, b in pairwise(xs))
    for index, (swap, x) in enumerate(zip(inside, xs, strict=True), start=1):
        color = INK if swap.committed else "#b5432e"
        y = 10.0 if not crowded else (7.0 if index % 2 else 16.0)
        body = element(
            "line",
            x1=x,
            x2=x,
            y1=y,
            y2=bottom,
            stroke=color,
            stroke_width=1,
            stroke_dasharray="2 3",
        )
        body += element(
            "circle", cx=x, cy=y, r=6.5, fill=color if swap.committed else "#fff", stroke=color
        )
        digit = "#fff" if swap.committed else color
        body += text(x, y + 3.2, str(index), text_anchor="middle", font_size=9, fill=digit)
        state = "" if swap.committed else " (failed)"
        parts.append(titled(body, f"swap {index}{state}: {swap.to_mix.identity}"))
    return parts


def _cursor(axis: Axis, bottom: float) -> str:
    """Return the line that follows the film; the page's script moves it."""
    return (
        f'<line class="cursor" x1="{number(LEFT)}" x2="{number(LEFT)}" y1="20" '
        f'y2="{number(bottom)}" data-left="{number(LEFT)}" '
        f'data-width="{number(WIDTH - LEFT - RIGHT)}" '
        f'data-seconds="{axis.seconds(axis.end_ns):.6f}"/>'
    )
