"""Pictures of a record: how latencies are distributed, and a run with its swaps marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from semla_ros.evaluation.drawing import LINE_COLORS, figure, svg

_SIZE: Mapping[str, Any] = {"rows": (3.4,), "width": 8.0}
_SWAP = "#d9dee6"

Series = Sequence[Mapping[str, Any]]


def latency_curves(series: Series) -> str:
    """Return, for each run, the share of frames (%) that were answered within a latency (ms)."""
    shown = [s for s in series if s.get("latency_ms_at_percent")]
    if not shown:
        return ""
    made, (axes,) = figure(**_SIZE)
    for index, each in enumerate(shown):
        values = [float(v) for v in each["latency_ms_at_percent"]]
        name = f"{float(each['hz']):.3g} Hz, {each['phase']}"
        dashes = "-" if each["phase"] == "quiet" else "--"
        color = LINE_COLORS[index // 2 % len(LINE_COLORS)]
        axes.plot(values, np.linspace(0, 100, len(values)), dashes, color=color, label=name)
    axes.set_xlim(left=0)
    axes.set_ylim(0, 100)
    axes.set_xlabel("image to mask, ms")
    axes.set_ylabel("share of frames, %")
    axes.legend(loc="lower right", fontsize=9)
    return svg(made, "Latency from image to mask")


def swap_timeline(series: Series) -> str:
    """Return the latency of every frame of one swapping run, the swaps as vertical lines."""
    runs = [s for s in series if s["phase"] != "quiet" and s["timeline"]["seconds"]]
    if not runs:
        return ""
    chosen = runs[min(1, len(runs) - 1)]
    line = chosen["timeline"]
    seconds = [float(s) for s in line["seconds"]]
    made, (axes,) = figure(**_SIZE)
    for when in (float(w) for w in line["swap_seconds"] if w <= seconds[-1]):
        axes.axvline(when, color=_SWAP, lw=2, zorder=0)
    axes.plot(seconds, [float(v) for v in line["latency_ms"]], ".", ms=4, color=LINE_COLORS[0])
    axes.set_xlim(0, seconds[-1])
    axes.set_ylim(bottom=0)
    axes.set_xlabel(
        f"{float(chosen['hz']):.3g} Hz while swapping without a pause, s (grey: a swap)"
    )
    axes.set_ylabel("image to mask, ms")
    return svg(made, "Latency of each frame, with swaps")


def memory_curve(points: Sequence[Sequence[float]]) -> str:
    """Return resident memory (MiB) over frames; `points` holds pairs."""
    if len(points) < 2:
        return ""
    made, (axes,) = figure(**_SIZE)
    axes.plot([float(p[0]) for p in points], [float(p[1]) for p in points], color=LINE_COLORS[0])
    low, high = axes.get_ylim()
    room = max(0.0, 2.0 - (high - low)) / 2  # no drama over less than 2 MiB
    axes.set_ylim(low - room, high + room)
    axes.set_xlabel("frames")
    axes.set_ylabel("resident memory, MiB")
    return svg(made, "Memory over the soak")
