"""Figures of a report as inline SVG; the same data gives the same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from semla_ros.core.shown import shown
from semla_ros.core.types import Float64Array
from semla_ros.evaluation.analysis.frames import FrameTable
from semla_ros.evaluation.drawing import INK, LINE_COLORS, MARKERS, MUTED, Fill, figure, plot
from semla_ros.evaluation.extra import evaluate_extra
from semla_ros.evaluation.study.study import StrArray


def support_scatter(table: FrameTable, fills: Mapping[str, Fill]) -> str:
    """Return frame mIoU over support by domain (SemLA's Figure 9), coloured by `fills`.

    Raises:
        MissingExtraError: matplotlib is missing.
    """
    judged = table.judged
    made, (axes,) = figure()
    _scatter(axes, judged.support, 100 * judged.miou, judged.domain, fills)
    axes.set_xlabel("support score")
    axes.set_ylabel("frame mIoU, %")
    axes.set_ylim(bottom=0)
    _legend(axes)
    return plot(made, "Frame mIoU over support score, one mark a frame")


def reliability_plot(bins: Sequence[tuple[float, float, int]]) -> str:
    """Return true over expected mIoU of bins of frames; the diagonal is perfect.

    Raises:
        MissingExtraError: matplotlib is missing.
    """
    made, (axes,) = figure((4.0,), width=4.4)
    top = 100 * max([max(b[0], b[1]) for b in bins], default=1.0) * 1.1
    axes.plot([0, top], [0, top], color=MUTED, lw=1, ls=(0, (4, 3)))
    axes.plot(
        [100 * b[0] for b in bins],
        [100 * b[1] for b in bins],
        "o",
        color=LINE_COLORS[0],
        ms=8,
        alpha=0.8,
    )
    axes.set_xlim(0, top)
    axes.set_ylim(0, top)
    axes.set_xlabel("expected mIoU, %")
    axes.set_ylabel("true mIoU, %")
    return plot(made, "True over expected mIoU")


def heatmap(
    values: Float64Array, rows: Sequence[str], columns: Sequence[str], *, xlabel: str, ylabel: str
) -> str:
    """Return a labelled heatmap, the best cell framed (SemLA's Figure 10).

    Args:
        values: (R, C); NaN cells stay empty.
        rows: R labels, top to bottom.
        columns: C labels.
        xlabel: Under the columns.
        ylabel: Beside the rows.

    Raises:
        MissingExtraError: matplotlib is missing.
    """
    wide = min(9.0, 2.0 + 0.95 * len(columns))
    made, (axes,) = figure((1.2 + 0.5 * len(rows),), width=wide)
    image = axes.imshow(values, cmap="cividis", aspect="auto")
    axes.set_xticks(range(len(columns)), map(_name, columns))
    axes.set_yticks(range(len(rows)), map(_name, rows))
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    low, high = np.nanmin(values), np.nanmax(values)
    for r, c in np.ndindex(*values.shape):
        if np.isfinite(values[r, c]):
            light = values[r, c] > low + 0.6 * (high - low)
            axes.text(
                c, r, f"{values[r, c]:.1f}", ha="center", va="center",
                color=INK if light else "#ffffff", fontsize=9,
            )  # fmt: skip
    best = np.unravel_index(int(np.nanargmax(values)), values.shape)
    patch = evaluate_extra("matplotlib.patches").Rectangle
    axes.add_patch(
        patch((best[1] - 0.5, best[0] - 0.5), 1, 1, fill=False, edgecolor=LINE_COLORS[1], lw=3)
    )
    made.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
    axes.grid(visible=False)
    return plot(made, f"{ylabel} over {xlabel}, best {values[best]:.1f}")


def projection_plot(
    frames: Float64Array,
    domains: Sequence[str] | StrArray,
    centroids: Float64Array,
    names: Sequence[str],
    fills: Mapping[str, Fill],
) -> str:
    """Return frames and library centroids in the plane (SemLA's Figure 7), coloured by `fills`.

    Args:
        frames: (F, 2).
        domains: F domains.
        centroids: (N, 2).
        names: N adapters.
        fills: How the page draws each domain.

    Raises:
        MissingExtraError: matplotlib is missing.
    """
    made, (axes,) = figure((5.4,))
    _scatter(axes, frames[:, 0], frames[:, 1], np.asarray(domains, np.str_), fills)
    axes.scatter(*centroids.T, s=90, marker="*", color=INK, zorder=5, label="library")
    for (x, y), name in zip(centroids, names, strict=True):
        axes.annotate(
            _name(name), (x, y), xytext=(6, 5), textcoords="offset points", fontsize=9, color=INK,
            bbox={"boxstyle": "round,pad=0.15", "fc": "#ffffff", "ec": "none", "alpha": 0.75},
        )  # fmt: skip
    axes.set_xticks([])
    axes.set_yticks([])
    _legend(axes)
    return plot(made, "t-SNE of frames and library centroids")


def lines(
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    xlabel: str,
    ylabel: str,
) -> str:
    """Return one marked line for each series.

    Raises:
        MissingExtraError: matplotlib is missing.
    """
    made, (axes,) = figure((4.2,))
    for style, (name, points) in zip(_styles(len(series)), series.items(), strict=True):
        axes.plot([p[0] for p in points], [p[1] for p in points], ms=7, label=_name(name), **style)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.set_ylim(bottom=min(0.0, *(p[1] for s in series.values() for p in s)))
    _legend(axes)
    return plot(made, f"{ylabel} over {xlabel}")


def _name(name: object) -> str:
    """Return a name as a label; matplotlib leaves those that begin with `_` out of legends."""
    return f" {shown(name)}" if str(name).startswith("_") else shown(name)


def _scatter(
    axes: Any,  # noqa: ANN401  a matplotlib object
    x: Float64Array,
    y: Float64Array,
    domains: StrArray,
    fills: Mapping[str, Fill],
) -> None:
    """Mark (F,) frames by domain: its adapter's colour, a dark edge."""
    for index, domain in enumerate(np.unique(domains)):
        inside = domains == domain
        axes.scatter(
            x[inside],
            y[inside],
            s=18,
            label=_name(domain),
            rasterized=int(inside.sum()) > 400,
            color=fills[str(domain)].color,
            marker=MARKERS[index % len(MARKERS)],
            edgecolors=INK,
            linewidths=0.35,
            alpha=0.8,
        )


def _styles(count: int) -> list[dict[str, str]]:
    """Return how each of `count` groups is marked: colour and shape change together."""
    return [
        {
            "color": LINE_COLORS[i % len(LINE_COLORS)],
            "marker": MARKERS[(i + i // len(LINE_COLORS)) % len(MARKERS)],
        }
        for i in range(count)
    ]


def _legend(axes: Any) -> None:  # noqa: ANN401  a matplotlib object
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        frameon=False,
        fontsize=9,
        borderaxespad=0,
        markerscale=1.6,
    )
