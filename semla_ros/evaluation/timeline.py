"""The timeline of a drive: adapter weights, support score, levels, swaps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, TypeVar

from semla_ros.core.answers import SwapEvent, known
from semla_ros.core.shown import shown
from semla_ros.core.types import BASE
from semla_ros.evaluation.drawing import (
    ALERT,
    INK,
    MUTED,
    Fill,
    adapter_fills,
    adapter_legend,
    charted,
    figure,
    svg,
)
from semla_ros.evaluation.page import Key, legend
from semla_ros.evaluation.result import ReplayResult

MAX_POINTS = 900
LEVEL_FILLS: Mapping[str, tuple[str, str, str]] = {
    "OK": ("#bfe3dc", "", ""),
    "LOW": ("#e9a13b", "///", " hatched"),
    "OUT_OF_LIBRARY": ("#b5432e", "xxx", " crossed"),
    "STALE": ("#8a939e", "///", " hatched"),
}
"""Level -> colour, hatch in the drawing, class of its swatch in the legend."""
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
class Stage:
    """A stretch of the drive with a name, e.g. its true domain."""

    name: str
    start_ns: int
    end_ns: int


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
    names = _by_weight(points)
    chosen = adapter_fills(names) if fills is None else fills
    drawn = charted(lambda: _drawing(points, names, chosen, swaps, stages, support_low))
    levels = {p.level for p in points}
    keys = [
        Key(_spoken(level), color, swatch)
        for level, (color, _, swatch) in LEVEL_FILLS.items()
        if level in levels
    ]
    below = legend(keys, title="support level: ") if keys else ""
    return f'<div class="timeline">{adapter_legend(chosen, names)}{drawn}{below}</div>'


def _drawing(
    points: Sequence[TimelinePoint],
    names: Sequence[str],
    fills: Mapping[str, Fill],
    swaps: Sequence[SwapEvent],
    stages: Sequence[Stage],
    support_low: float,
) -> str:
    start_ns = min(p.stamp_ns for p in points)
    end_s = (max(p.stamp_ns for p in points) - start_ns) * 1e-9
    made, axes = figure((*([0.3] if stages else []), 2.0, 1.5, 0.3), width=11.0, sharex=True)
    if stages:
        _stages(axes[0], stages, start_ns, end_s)
    _weights(axes[-3], points, names, fills)
    _support(axes[-2], points, support_low)
    _levels(levels := axes[-1], points)
    _swaps(axes, swaps, start_ns, end_s)
    levels.set_xlim(0.0, end_s or 1.0)
    levels.set_xlabel("s")
    label = (
        f"Timeline of {len(points)} frames over {end_s:.1f} seconds: adapter weights, support "
        f"score and {len(swaps)} swaps"
    )
    shown = svg(made, label)
    place = levels.get_position()
    return (
        f'<div class="chart">{shown}<i class="cursor" data-left="{place.x0:.5f}" '
        f'data-width="{place.width:.5f}" data-seconds="{end_s:.6f}"></i></div>'
    )


def runs(
    points: Sequence[TimelinePoint], of: Callable[[TimelinePoint], _T]
) -> list[tuple[_T, float, float]]:
    """Return (value, start, length) in s of the stretches on which `of` is constant."""
    zero = points[0].stamp_ns
    starts = [(value, next(group).stamp_ns) for value, group in groupby(points, of)]
    if len(starts) > MAX_POINTS:
        starts = starts[:: math.ceil(len(starts) / MAX_POINTS)]
    ends = [start for _, start in starts[1:]] + [points[-1].stamp_ns]
    return [
        (value, (start - zero) * 1e-9, (end - start) * 1e-9)
        for (value, start), end in zip(starts, ends, strict=True)
    ]


def thinned(series: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return at most about `MAX_POINTS` of (x, y), extremes kept; NaN leaves a gap."""
    step = max(1, math.ceil(2 * len(series) / MAX_POINTS))
    kept: list[tuple[float, float]] = []
    for first in range(0, len(series), step):
        block = [s for s in series[first : first + step] if math.isfinite(s[1])]
        if not block:
            kept.append((series[first][0], math.nan))
            continue
        extremes = {min(block, key=lambda s: s[1]), max(block, key=lambda s: s[1])}
        kept += sorted(extremes)
    return kept


def _by_weight(points: Sequence[TimelinePoint]) -> list[str]:
    """Return the adapter names, most used first, the base last."""
    sums: dict[str, float] = {}
    for point in points:
        for name, weight in point.weights.items():
            sums[name] = sums.get(name, 0.0) + weight
    return sorted(sums, key=lambda n: (n == BASE, -sums[n], n))


def _spoken(level: str) -> str:
    return level.replace("_", " ").lower()


def _band(axes: Any, label: str) -> None:  # noqa: ANN401  a matplotlib object
    """Make of `axes` a band that holds names alone."""
    axes.set_ylim(0, 1)
    axes.set_yticks([0.5], [label])
    axes.tick_params(left=False)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _stages(axes: Any, stages: Sequence[Stage], start_ns: int, end_s: float) -> None:  # noqa: ANN401
    _band(axes, "scene")
    for index, stage in enumerate(stages):
        left, right = ((t - start_ns) * 1e-9 for t in (stage.start_ns, stage.end_ns))
        axes.axvspan(left, right, color="#eef1f5" if index % 2 else "#dfe5ec", lw=0)
        if right - left > 0.009 * len(stage.name) * end_s:
            axes.text(
                (left + right) / 2, 0.45, shown(stage.name), ha="center", va="center", fontsize=8.5
            )


def _weights(
    axes: Any,  # noqa: ANN401
    points: Sequence[TimelinePoint],
    names: Sequence[str],
    fills: Mapping[str, Fill],
) -> None:
    """Stack the weights; a mix holds until the next, so bands are steps."""
    mixes = runs(points, lambda p: tuple(sorted(p.weights.items())))
    least = 0.008 * (points[-1].stamp_ns - points[0].stamp_ns) * 1e-9
    floor = [0.0] * len(mixes)
    for name in names:
        bands = [
            (left, width, floor[i], 100 * share)
            for i, (mix, left, width) in enumerate(mixes)
            if (share := dict(mix).get(name, 0.0)) > 0
        ]
        lefts, widths, lows, shares = zip(*bands, strict=True)
        axes.bar(lefts, shares, widths, bottom=lows, align="edge", **fills[name].style)
        for left, width, low, share in bands:
            if share > 9 and width > least * len(name):
                place = (left + width / 2, low + share / 2)
                axes.text(*place, shown(name), ha="center", va="center", fontsize=8.5)
        floor = [
            low + 100 * dict(m[0]).get(name, 0.0) for low, m in zip(floor, mixes, strict=True)
        ]
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 50, 100], ["0 %", "50 %", "100 %"])
    axes.grid(visible=False)


def _support(axes: Any, points: Sequence[TimelinePoint], support_low: float) -> None:  # noqa: ANN401
    """Draw the support score per frame (thin) and filtered (thick), over its threshold."""
    axes.set_ylabel("support")
    seconds = [(p.stamp_ns - points[0].stamp_ns) * 1e-9 for p in points]
    found = False
    for scores, style in (
        ([p.score for p in points], {"color": "#9fb3c8", "lw": 0.8}),
        ([p.smoothed for p in points], {"color": "#1f4e79", "lw": 1.8}),
    ):
        line = thinned(list(zip(seconds, scores, strict=True)))
        found = found or any(math.isfinite(y) for _, y in line)
        axes.plot([x for x, _ in line], [y for _, y in line], solid_joinstyle="round", **style)
    if not found:
        axes.set_yticks([])
        note = "no support score: the bundle has no navigator"
        axes.text(0.01, 0.5, note, transform=axes.transAxes, color=MUTED, fontsize=9)
        return
    axes.set_ylim(bottom=0)
    if support_low > 0:
        axes.axhline(support_low, color="#b26a00", lw=1, ls=(0, (5, 4)))
        place = {"xy": (1.0, support_low), "xycoords": axes.get_yaxis_transform()}
        offset = {"xytext": (-4, 3), "textcoords": "offset points", "ha": "right"}
        text = f"low below {support_low:.3g}"
        axes.annotate(text, **place, **offset, fontsize=8.5, color="#8a5200")


def _levels(axes: Any, points: Sequence[TimelinePoint]) -> None:  # noqa: ANN401
    """Draw the levels as a band, told apart by pattern and name as well as by colour."""
    _band(axes, "level")
    least = 0.009 * (points[-1].stamp_ns - points[0].stamp_ns) * 1e-9
    for level, left, width in runs(points, lambda p: p.level):
        if not level:
            continue
        color, hatch, _ = LEVEL_FILLS[level]
        axes.bar(
            [left], [1.0], [width], align="edge", color=color, hatch=hatch, ec="#ffffff", lw=0
        )
        name = _spoken(level)
        if width > least * (len(name) + 2):
            box = {"boxstyle": "round,pad=0.15", "fc": "#ffffff", "ec": "none"}
            middle = (left + width / 2, 0.45)
            axes.text(*middle, name, ha="center", va="center", fontsize=7.5, bbox=box)


def _swaps(axes: Sequence[Any], swaps: Sequence[SwapEvent], start_ns: int, end_s: float) -> None:
    """Number the swaps above the drawing, neighbours at two heights so that they can be read."""
    seconds = [(s.stamp_ns - start_ns) * 1e-9 for s in swaps]
    inside = [(x, s) for x, s in zip(seconds, swaps, strict=True) if 0 <= x <= end_s]
    crowded = any(b - a < 0.016 * end_s for (a, _), (b, _) in pairwise(inside))
    for index, (x, swap) in enumerate(inside, start=1):
        color = INK if swap.committed else ALERT
        for each in axes:
            each.axvline(x, color=color, lw=0.8, ls=(0, (2, 3)))
        box = {"boxstyle": "circle,pad=0.25", "fc": color if swap.committed else "#ffffff"}
        axes[0].annotate(
            str(index),
            xy=(x, 1.0),
            xycoords=axes[0].get_xaxis_transform(),
            xytext=(0, 17 if crowded and index % 2 else 7),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=7,
            color="#ffffff" if swap.committed else color,
            bbox=box | {"ec": color},
        )
