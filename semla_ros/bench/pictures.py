"""Pictures of a record: how latencies are distributed, and a run with its swaps marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from semla_ros.evaluation.svg import GRID, INK, MUTED, drawing, element, nice_ticks, text

WIDTH, HEIGHT = 760.0, 320.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 62.0, 16.0, 34.0, 46.0
_COLORS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb")
"""Source: Paul Tol, "Colour schemes" (2021), bright."""
_FONT = {"font_family": "sans-serif", "font_size": "12"}
_SWAP = "#d9dee6"

Series = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Axes:
    """A plot area: what the edges mean."""

    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point lies in the drawing."""
        width, height = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
        across = (x - self.x[0]) / max(self.x[1] - self.x[0], 1e-12)
        up = (y - self.y[0]) / max(self.y[1] - self.y[0], 1e-12)
        return _LEFT + across * width, _TOP + (1 - up) * height


def latency_curves(series: Series) -> str:
    """Return, for each run, the share of frames (%) that were answered within a latency (ms)."""
    shown = [s for s in series if s.get("latency_ms_at_percent")]
    if not shown:
        return ""
    most = max(float(s["latency_ms_at_percent"][-1]) for s in shown)
    axes = Axes((0.0, most), (0.0, 100.0))
    parts = _frame(axes, "image to mask, ms", "share of frames, %")
    for index, each in enumerate(shown):
        values = each["latency_ms_at_percent"]
        points = [axes.at(float(v), 100 * i / (len(values) - 1)) for i, v in enumerate(values)]
        dashes = {"stroke_dasharray": "5 3"} if each["phase"] != "quiet" else {}
        color = _COLORS[index // 2 % len(_COLORS)]
        parts.append(_line(points, color, **dashes))
        name = f"{float(each['hz']):.3g} Hz, {each['phase']}"
        parts.append(_key(index, name, color, **dashes))
    return drawing(parts, width=WIDTH, height=HEIGHT, label="Latency from image to mask")


def swap_timeline(series: Series) -> str:
    """Return the latency of every frame of one swapping run, the swaps as vertical lines."""
    runs = [s for s in series if s["phase"] != "quiet" and s["timeline"]["seconds"]]
    if not runs:
        return ""
    chosen = runs[min(1, len(runs) - 1)]
    line = chosen["timeline"]
    seconds, latencies = line["seconds"], line["latency_ms"]
    axes = Axes((0.0, float(seconds[-1])), (0.0, float(max(latencies)) * 1.05))
    parts = []
    for when in (float(w) for w in line["swap_seconds"] if w <= seconds[-1]):
        (x, bottom), (_, top) = axes.at(when, axes.y[0]), axes.at(when, axes.y[1])
        parts.append(element("line", x1=x, y1=bottom, x2=x, y2=top, stroke=_SWAP, stroke_width=2))
    label = f"{float(chosen['hz']):.3g} Hz while swapping without a pause, s (grey: a swap)"
    parts += _frame(axes, label, "image to mask, ms")
    for second, latency in zip(seconds, latencies, strict=True):
        x, y = axes.at(float(second), float(latency))
        parts.append(element("circle", cx=x, cy=y, r=1.8, fill=_COLORS[0]))
    return drawing(parts, width=WIDTH, height=HEIGHT, label="Latency of each frame, with swaps")


def memory_curve(points: Sequence[Sequence[float]]) -> str:
    """Return resident memory (MiB) over frames; `points` holds pairs."""
    if len(points) < 2:
        return ""
    values = [float(p[1]) for p in points]
    low, high = min(values), max(values)
    room = max(0.1 * (high - low), 1.0)
    axes = Axes((0.0, float(points[-1][0])), (low - room, high + room))
    parts = _frame(axes, "frames", "resident memory, MiB")
    parts.append(_line([axes.at(float(x), float(y)) for x, y in points], _COLORS[0]))
    return drawing(parts, width=WIDTH, height=HEIGHT, label="Memory over the soak")


def _frame(axes: Axes, across: str, up: str) -> list[str]:
    parts = []
    for tick in nice_ticks(*axes.x, count=8):
        x, y = axes.at(tick, axes.y[0])
        parts.append(text(x, y + 16, f"{tick:g}", fill=MUTED, text_anchor="middle", **_FONT))
    for tick in nice_ticks(*axes.y, count=5):
        (x, y), (end, _) = axes.at(axes.x[0], tick), axes.at(axes.x[1], tick)
        parts.append(element("line", x1=x, y1=y, x2=end, y2=y, stroke=GRID))
        parts.append(text(x - 6, y + 4, f"{tick:g}", fill=MUTED, text_anchor="end", **_FONT))
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    parts.append(text(middle, HEIGHT - 10, across, fill=INK, text_anchor="middle", **_FONT))
    parts.append(text(_LEFT - 44, _TOP - 14, up, fill=INK, **_FONT))
    background = element("rect", width=WIDTH, height=HEIGHT, fill="#ffffff")
    return [background, *parts]


def _line(points: Sequence[tuple[float, float]], color: str, **attributes: object) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return element(
        "polyline", points=path, fill="none", stroke=color, stroke_width=1.8, **attributes
    )


def _key(index: int, name: str, color: str, **attributes: object) -> str:
    y = HEIGHT - _BOTTOM - 12 - 16 * index
    x = WIDTH - _RIGHT - 150
    mark = _line([(x, y), (x + 24, y)], color, **attributes)
    return mark + text(x + 30, y + 4, name, fill=INK, **_FONT)
