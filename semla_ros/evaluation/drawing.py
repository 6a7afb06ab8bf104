"""How every chart is drawn: matplotlib, one style, one colour for an adapter, inline SVG.

The same data gives the same bytes. matplotlib comes with the extra `evaluate`; without it a page
says so where a chart would stand (`charted`).
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from typing import Any

from semla_ros.core.types import BASE
from semla_ros.evaluation.extra import MissingExtraError, evaluate_extra
from semla_ros.evaluation.page import Key, legend, warning

ADAPTER_COLORS = (
    "#77aadd",
    "#ee8866",
    "#44bb99",
    "#eedd88",
    "#ffaabb",
    "#aaaa00",
    "#99ddff",
    "#bbcc33",
)
"""Source: Paul Tol, "Colour schemes" (2021), light: areas that carry dark text."""
LINE_COLORS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#7a5c00",
    "#332288",
)
"""Source: Okabe and Ito (2008), with two dark tones of Tol (2021) after them."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
BASE_COLOR = "#dddddd"
INK, MUTED, GRID, ALERT = "#1f2933", "#66727f", "#e4e8ee", "#b5432e"
_STYLE: Mapping[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "hatch.linewidth": 1.6,
    "text.parse_math": False,  # names may hold a $
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
}


@dataclass(frozen=True, slots=True)
class Fill:
    """How an adapter is drawn: a colour, hatched where the colours start over."""

    color: str
    hatched: bool

    @property
    def style(self) -> dict[str, Any]:
        """What matplotlib's patches are given."""
        hatch = "///" if self.hatched else None
        return {"facecolor": self.color, "edgecolor": "#ffffff", "linewidth": 0.6, "hatch": hatch}


def adapter_fills(names: Iterable[str]) -> dict[str, Fill]:
    """Return how each adapter is drawn; the same set of names gives the same fills."""
    fills = {BASE: Fill(BASE_COLOR, hatched=False)}
    for index, name in enumerate(sorted(set(names) - {BASE})):
        color = ADAPTER_COLORS[index % len(ADAPTER_COLORS)]
        fills[name] = Fill(color, hatched=index >= len(ADAPTER_COLORS))
    return fills


def figure(
    rows: Sequence[float] = (4.4,), *, width: float = 9.0, sharex: bool = False
) -> tuple[Any, list[Any]]:
    """Return a figure and its axes, one above the other.

    Args:
        rows: Height of each, inches.
        width: Inches.
        sharex: Whether all have the same x axis.

    Raises:
        MissingExtraError: matplotlib is missing.
    """
    evaluate_extra("matplotlib").rcParams.update(_STYLE)
    made = evaluate_extra("matplotlib.figure").Figure(
        figsize=(width, sum(rows)), layout="constrained"
    )
    axes = made.subplots(
        len(rows), squeeze=False, sharex=sharex, gridspec_kw={"height_ratios": list(rows)}
    )
    return made, list(axes[:, 0])


def svg(made: Any, label: str) -> str:  # noqa: ANN401  a matplotlib object
    """Return the figure as one `<svg>` whose ids are its own and whose size is the page's."""
    out = io.BytesIO()
    with evaluate_extra("matplotlib").rc_context({"svg.hashsalt": "semla"}):
        made.savefig(out, format="svg", dpi=130, metadata={"Date": None, "Creator": None})
    text = out.getvalue().decode("utf-8")
    body = text[text.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = _with_own_ids(re.sub(r">\s+<", "><", body).replace("\n", " "))
    body = re.sub(r'(<svg[^>]*?) (?:width|height)="[\d.]+pt"', r"\1", body, count=1)
    body = re.sub(r'(<svg[^>]*?) (?:width|height)="[\d.]+pt"', r"\1", body, count=1)
    return f'<svg role="img" aria-label="{escape(label, quote=True)}"' + body.removeprefix("<svg")


_ID = re.compile(r'( id="|url\(#|href="#)([^")]+)')


def _with_own_ids(body: str) -> str:
    """Return an SVG whose ids count up and belong to it alone: matplotlib's vary with memory."""
    used = dict.fromkeys(m[2] for m in _ID.finditer(body) if m[1] != ' id="')
    body = re.sub(r' id="([^"]+)"', lambda m: m[0] if m[1] in used else "", body)
    number = {name: index for index, name in enumerate(used)}
    plain = _ID.sub(lambda m: f"{m[1]}{number[m[2]]}", body)
    own = sha256(plain.encode()).hexdigest()[:8]
    return _ID.sub(lambda m: f"{m[1]}f{own}-{number[m[2]]}", body)


def plot(made: Any, label: str) -> str:  # noqa: ANN401  a matplotlib object
    """Return the figure as HTML, at most as wide as it was made for."""
    pixels = 108 * float(made.get_figwidth())
    return f'<div class="plot" style="max-width:{pixels:.0f}px">{svg(made, label)}</div>'


def charted(draw: Callable[[], str]) -> str:
    """Return what `draw` returns, or a note where a library of the extra is missing."""
    try:
        return draw()
    except MissingExtraError as error:
        return warning(str(error))


def adapter_legend(fills: Mapping[str, Fill], names: Iterable[str]) -> str:
    """Return an HTML legend of the adapters in `names`."""
    return legend(
        Key(
            "base (unadapted)" if name == BASE else name,
            fills[name].color,
            " hatched" if fills[name].hatched else "",
        )
        for name in names
    )
