"""The timeline of a drive: adapter weights, support score, levels, swaps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from semla_ros.core.answers import SupportReading, SwapEvent, known
from semla_ros.core.shown import shown
from semla_ros.core.types import BASE, AdapterMix, Float64Array
from semla_ros.data.metrics import Int64Array
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
from semla_ros.navigator.support import ALWAYS_LOW

MAX_POINTS = 900
LEVEL_FILLS: Mapping[str, tuple[str, str, str]] = {
    "OK": ("#bfe3dc", "", ""),
    "LOW": ("#e9a13b", "///", " hatched"),
    "OUT_OF_LIBRARY": ("#b5432e", "xxx", " crossed"),
    "STALE": ("#8a939e", "///", " hatched"),
}
"""Level -> colour, hatch in the drawing, class of its swatch in the legend."""
_Starts = np.ndarray[tuple[int, ...], np.dtype[np.intp]]


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """What a timeline shows of F frames.

    Attributes:
        stamps_ns: (F,) in the order they were answered.
        names: N adapters and the base.
        weights: (F, N) of the active mix, in [0, 1].
        score, smoothed: (F,) support score of the frame and filtered; NaN where unknown.
        levels: F support levels, empty where unknown.
        domains: F domains, empty where unknown; none: no band of scenes.
    """

    stamps_ns: Int64Array
    names: tuple[str, ...]
    weights: Float64Array
    score: Float64Array
    smoothed: Float64Array
    levels: Sequence[str]
    domains: Sequence[str] = ()

    @property
    def seconds(self) -> Float64Array:
        """(F,) since the first frame."""
        return np.asarray((self.stamps_ns - self.stamps_ns[:1]) * 1e-9, np.float64)


def course_of(
    stamps_ns: Sequence[int],
    mixes: Sequence[AdapterMix],
    supports: Sequence[SupportReading | None],
    *,
    domains: Sequence[str] = (),
) -> Course:
    """Return the course of frames by what was answered to each."""
    names = tuple(dict.fromkeys(name for mix in mixes for name in mix.names))
    readings = [known(s) for s in supports]
    return Course(
        np.array(stamps_ns, np.int64),
        names,
        np.array([[mix.weight(name) for name in names] for mix in mixes]),
        np.array([math.nan if r is None else r.score for r in readings]),
        np.array([math.nan if r is None else r.smoothed for r in readings]),
        ["" if s is None else s.level for s in supports],
        domains,
    )


def timeline(
    course: Course,
    *,
    swaps: Sequence[SwapEvent] = (),
    support_low: float = 0.0,
    fills: Mapping[str, Fill] | None = None,
) -> str:
    """Return the timeline as HTML: a legend and one drawing; empty without frames.

    Args:
        course: The frames.
        swaps: Drawn as numbered markers, failed ones open.
        support_low: Threshold of the level LOW, drawn where above 0.
        fills: How the page draws each adapter; None on a page with one timeline.
    """
    if not len(course.stamps_ns):
        return ""
    total = dict(zip(course.names, course.weights.sum(axis=0).tolist(), strict=True))
    names = sorted((n for n in total if total[n]), key=lambda n: (n == BASE, -total[n], n))
    chosen = adapter_fills(names) if fills is None else fills
    drawn = charted(lambda: _drawing(course, names, chosen, swaps, support_low))
    keys = [
        Key(_spoken(level), color, swatch)
        for level, (color, _, swatch) in LEVEL_FILLS.items()
        if level in course.levels
    ]
    below = legend(keys, title="support level: ") if keys else ""
    return f'<div class="timeline">{adapter_legend(chosen, names)}{drawn}{below}</div>'


def _drawing(
    course: Course,
    names: Sequence[str],
    fills: Mapping[str, Fill],
    swaps: Sequence[SwapEvent],
    support_low: float,
) -> str:
    seconds = course.seconds
    end_s = float(seconds[-1])
    scenes = _starts(course.domains) if any(course.domains) else np.zeros(0, np.intp)
    shows_scenes = 0 < len(scenes) <= len(seconds) // 3
    made, axes = figure((*([0.3] if shows_scenes else []), 2.0, 1.5, 0.3), width=11.0, sharex=True)
    if shows_scenes:
        _scenes(axes[0], seconds, course.domains, scenes)
    _weights(axes[-3], course, names, fills)
    _support(axes[-2], course, support_low)
    _levels(levels := axes[-1], course)
    _swaps(axes, swaps, int(course.stamps_ns[0]), end_s)
    levels.set_xlim(0.0, end_s or 1.0)
    levels.set_xlabel("s")
    label = (
        f"Timeline of {len(seconds)} frames over {end_s:.1f} seconds: adapter weights, support "
        f"score and {len(swaps)} swaps"
    )
    shown = svg(made, label)
    place = levels.get_position()
    return (
        f'<div class="chart">{shown}<i class="cursor" data-left="{place.x0:.5f}" '
        f'data-width="{place.width:.5f}" data-seconds="{end_s:.6f}"></i></div>'
    )


def _starts(values: Sequence[str] | Float64Array) -> _Starts:
    """Return where stretches of equal values (or rows) begin, at most about `MAX_POINTS`."""
    rows = np.asarray(values).reshape(len(values), -1)
    starts = np.flatnonzero(np.append(True, (rows[1:] != rows[:-1]).any(axis=1)))
    return starts[:: math.ceil(len(starts) / MAX_POINTS)]


def _widths(seconds: Float64Array, starts: _Starts) -> Float64Array:
    """Return how long each stretch lasts, s."""
    return np.diff(np.append(seconds[starts], seconds[-1]))


def thinned(series: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return at most about `MAX_POINTS` of (x, y), extremes kept; NaN leaves a gap."""
    step = max(1, math.ceil(2 * len(series) / MAX_POINTS))
    kept: list[tuple[float, float]] = []
    for first in range(0, len(series), step):
        block = [s for s in series[first : first + step] if math.isfinite(s[1])]
        if block:
            kept += sorted({min(block, key=lambda s: s[1]), max(block, key=lambda s: s[1])})
        else:
            kept.append((series[first][0], math.nan))
    return kept


def _spoken(level: str) -> str:
    return level.replace("_", " ").lower()


def _band(axes: Any, label: str) -> None:  # noqa: ANN401  a matplotlib object
    """Make of `axes` a band that holds names alone."""
    axes.set_ylim(0, 1)
    axes.set_yticks([0.5], [label])
    axes.tick_params(left=False)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _scenes(axes: Any, seconds: Float64Array, domains: Sequence[str], starts: _Starts) -> None:  # noqa: ANN401
    _band(axes, "scene")
    widths = _widths(seconds, starts)
    for index, (start, width) in enumerate(zip(starts, widths, strict=True)):
        left, name = seconds[start], domains[start]
        axes.axvspan(left, left + width, color="#eef1f5" if index % 2 else "#dfe5ec", lw=0)
        if width > 0.009 * len(name) * seconds[-1]:
            middle = (left + width / 2, 0.45)
            axes.text(*middle, shown(name), ha="center", va="center", fontsize=8.5)


def _weights(axes: Any, course: Course, names: Sequence[str], fills: Mapping[str, Fill]) -> None:  # noqa: ANN401
    """Stack the weights; a mix holds until the next, so bands are steps."""
    seconds, starts = course.seconds, _starts(course.weights)
    lefts, widths, least = seconds[starts], _widths(seconds, starts), 0.008 * seconds[-1]
    floor = np.zeros(len(starts))
    for name in names:
        shares = 100 * course.weights[starts, course.names.index(name)]
        on = shares > 0
        axes.bar(
            lefts[on], shares[on], widths[on], bottom=floor[on], align="edge", **fills[name].style
        )
        for i in np.flatnonzero((shares > 9) & (widths > least * len(name))):
            place = (lefts[i] + widths[i] / 2, floor[i] + shares[i] / 2)
            axes.text(*place, shown(name), ha="center", va="center", fontsize=8.5)
        floor = floor + shares
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 50, 100], ["0 %", "50 %", "100 %"])
    axes.grid(visible=False)


def _support(axes: Any, course: Course, support_low: float) -> None:  # noqa: ANN401
    """Draw the support score per frame (thin) and filtered (thick), over its threshold."""
    axes.set_ylabel("support")
    for scores, color, width in (
        (course.score, "#9fb3c8", 0.8),
        (course.smoothed, "#1f4e79", 1.8),
    ):
        line = thinned(list(zip(course.seconds.tolist(), scores.tolist(), strict=True)))
        axes.plot(*zip(*line, strict=True), color=color, lw=width, solid_joinstyle="round")
    if not np.isfinite([course.score, course.smoothed]).any():
        axes.set_yticks([])
        note = "no support score: the bundle has no navigator"
        axes.text(0.01, 0.5, note, transform=axes.transAxes, color=MUTED, fontsize=9)
        return
    axes.set_ylim(bottom=0)
    if 0 < support_low < ALWAYS_LOW:
        axes.axhline(support_low, color="#b26a00", lw=1, ls=(0, (5, 4)))
        place = {"xy": (1.0, support_low), "xycoords": axes.get_yaxis_transform()}
        offset = {"xytext": (-4, 3), "textcoords": "offset points", "ha": "right"}
        text = f"low below {support_low:.3g}"
        axes.annotate(text, **place, **offset, fontsize=8.5, color="#8a5200")


def _levels(axes: Any, course: Course) -> None:  # noqa: ANN401
    """Draw the levels as a band, told apart by pattern and name as well as by colour."""
    _band(axes, "level")
    seconds, starts = course.seconds, _starts(course.levels)
    for start, width in zip(starts, _widths(seconds, starts), strict=True):
        left, level = seconds[start], course.levels[start]
        if not level:
            continue
        color, hatch, _ = LEVEL_FILLS[level]
        axes.bar(
            [left], [1.0], [width], align="edge", color=color, hatch=hatch, ec="#ffffff", lw=0
        )
        name = _spoken(level)
        if width > 0.009 * seconds[-1] * (len(name) + 2):
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
        fill = color if swap.committed else "#ffffff"
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
            bbox={"boxstyle": "circle,pad=0.25", "fc": fill, "ec": color},
        )
