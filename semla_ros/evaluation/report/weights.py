"""Mean adapter weights of each domain as stacked bars (SemLA's Figure 8)."""

from __future__ import annotations

from collections.abc import Mapping

from semla_ros.evaluation.svg import INK, Fill, drawing, element, legend, text, titled

WIDTH, LEFT, BAR, GAP = 1000.0, 150.0, 24.0, 8.0


def weight_bars(weights: Mapping[str, Mapping[str, float]], fills: Mapping[str, Fill]) -> str:
    """Return one stacked bar a domain as HTML, with a legend; empty without domains.

    Args:
        weights: Domain -> adapter -> mean weight, sum 1.
        fills: How the page draws each adapter.
    """
    if not weights:
        return ""
    totals: dict[str, float] = {}
    for row in weights.values():
        for name, share in row.items():
            totals[name] = totals.get(name, 0.0) + share
    names = [n for n in totals if totals[n] > 0]
    parts: list[str] = []
    for index, (domain, row) in enumerate(weights.items()):
        y = index * (BAR + GAP)
        parts.append(
            text(LEFT - 10, y + BAR / 2 + 4, domain, text_anchor="end", font_size=13, fill=INK)
        )
        x = LEFT
        for name in names:
            width = row.get(name, 0.0) * (WIDTH - LEFT)
            if width <= 0:
                continue
            box = {"x": x, "y": y, "width": width, "height": BAR}
            body = element("rect", fill=fills[name].color, stroke="#fff", stroke_width=0.8, **box)
            if fills[name].hatched:
                body += element("rect", fill="url(#hatch)", **box)
            if width > 7.0 * len(name) + 8:
                body += text(
                    x + width / 2,
                    y + BAR / 2 + 4,
                    name,
                    text_anchor="middle",
                    font_size=11,
                    fill=INK,
                )
            parts.append(titled(body, f"{domain}: {name} {row[name]:.0%}"))
            x += width
    height = len(weights) * (BAR + GAP)
    label = f"Mean adapter weights of {len(weights)} domains"
    shown = drawing(parts, width=WIDTH, height=height, label=label)
    return f'<div class="bars">{legend(fills, names)}{shown}</div>'
