"""Small pieces of inline SVG: escaping, numbers, colours that everybody can tell apart."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from semla_ros.types import BASE

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
BASE_COLOR = "#dddddd"
INK, MUTED, GRID = "#1f2933", "#66727f", "#e4e8ee"


@dataclass(frozen=True, slots=True)
class Fill:
    """How an adapter is drawn: a colour, hatched where the colours start over."""

    color: str
    hatched: bool


def adapter_fills(names: Iterable[str]) -> dict[str, Fill]:
    """Return how each adapter is drawn; the same set of names gives the same fills."""
    fills = {BASE: Fill(BASE_COLOR, hatched=False)}
    for index, name in enumerate(sorted(set(names) - {BASE})):
        color = ADAPTER_COLORS[index % len(ADAPTER_COLORS)]
        fills[name] = Fill(color, hatched=index >= len(ADAPTER_COLORS))
    return fills


def number(value: float) -> str:
    """Return a coordinate with at most two decimals."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def element(name: str, content: str = "", /, **attributes: object) -> str:
    """Return one element; underscores in attribute names become hyphens, `cls` becomes class."""
    parts = [name]
    for key, value in attributes.items():
        attribute = "class" if key == "cls" else key.replace("_", "-")
        shown = number(value) if isinstance(value, float) else str(value)
        parts.append(f'{attribute}="{escape(shown, quote=True)}"')
    return f"<{' '.join(parts)}>{content}</{name}>" if content else f"<{' '.join(parts)}/>"


def text(x: float, y: float, content: str, **attributes: object) -> str:
    """Return a text element, its content escaped."""
    return element("text", escape(content), x=float(x), y=float(y), **attributes)


def titled(content: str, title: str) -> str:
    """Return `content` in a group with a tooltip."""
    return f"<g><title>{escape(title)}</title>{content}</g>"


def drawing(content: Sequence[str], *, width: float, height: float, label: str) -> str:
    """Return a drawing that scales with the page and is announced as `label`."""
    return (
        f'<svg viewBox="0 0 {number(width)} {number(height)}" role="img" '
        f'aria-label="{escape(label, quote=True)}" xmlns="http://www.w3.org/2000/svg">'
        f"{_PATTERNS}{''.join(content)}</svg>"
    )


_PATTERNS = (
    '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect width="2.2" height="6" fill="#ffffff" '
    'fill-opacity="0.75"/></pattern>'
    '<pattern id="cross" width="6" height="6" patternUnits="userSpaceOnUse">'
    '<path d="M0 0L6 6M6 0L0 6" stroke="#ffffff" stroke-opacity="0.75" stroke-width="1.2"/>'
    "</pattern></defs>"
)


def nice_ticks(low: float, high: float, *, count: int = 6) -> list[float]:
    """Return about `count` round values that cover [low, high] from inside."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low] if math.isfinite(low) else []
    rough = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def legend(fills: Mapping[str, Fill], names: Iterable[str]) -> str:
    """Return an HTML legend of the adapters in `names`."""
    items = []
    for name in names:
        fill = fills[name]
        hatch = " hatched" if fill.hatched else ""
        label = "base (unadapted)" if name == BASE else name
        items.append(
            f'<span class="key"><i class="swatch{hatch}" style="background-color:{fill.color}">'
            f"</i>{escape(label)}</span>"
        )
    return f'<div class="legend">{"".join(items)}</div>'
