"""Tables as Markdown, LaTeX, CSV and HTML; the best of each column is marked."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from semla_ros.evaluation.analysis.summary import Cell, ResultTable
from semla_ros.evaluation.page import table as html_table

DIGITS = 1
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def markdown(table: ResultTable) -> str:
    """Return a Markdown table with its title; the best numbers bold."""
    marked = _best(table)
    lines = [
        f"### {table.title}",
        "",
        _line(_markdown_text(h) for h in table.header),
        _line(["---", *(["---:"] * (len(table.header) - 1))]),
    ]
    for r, row in enumerate(table.rows):
        cells = [_markdown_text(shown(cell)) for cell in row]
        lines.append(
            _line(f"**{text}**" if (r, c) in marked else text for c, text in enumerate(cells))
        )
    note = ["", table.note] if table.note else []
    return "\n".join([*lines, *note, ""])


def latex(table: ResultTable) -> str:
    """Return a LaTeX table (packages booktabs, graphicx) that fits the text width."""
    marked = _best(table)
    body = []
    for r, row in enumerate(table.rows):
        cells = [_latex_text(shown(cell)) for cell in row]
        body.append(
            " & ".join(
                rf"\textbf{{{text}}}" if (r, c) in marked else text for c, text in enumerate(cells)
            )
            + r" \\"
        )
    columns = "l" + "r" * (len(table.header) - 1)
    return "\n".join(
        [
            r"\begin{table}[t]",
            r"\centering",
            rf"\caption{{{_latex_text(table.title)}. {_latex_text(table.note)}}}",
            rf"\label{{tab:semla-{table.name}}}",
            r"\resizebox{\linewidth}{!}{%",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            " & ".join(_latex_text(h) for h in table.header) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
            "",
        ]
    )


def comma_separated(table: ResultTable) -> str:
    """Return the table as CSV, full precision, empty cells where not scored."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.header)
    for row in table.rows:
        writer.writerow("" if _missing(cell) else cell for cell in row)
    return out.getvalue()


def html(table: ResultTable, *, digits: int = DIGITS) -> str:
    """Return the table for the page."""
    rows = [[None if _missing(cell) else cell for cell in row] for row in table.rows]
    return html_table(table.header, rows, digits=digits, sortable=True)


def shown(cell: Cell) -> str:
    """Return a cell as text; a dash where not scored."""
    if _missing(cell):
        return "–"
    return f"{cell:.{DIGITS}f}" if isinstance(cell, float) else str(cell)


def _missing(cell: Cell) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _best(table: ResultTable) -> set[tuple[int, int]]:
    """Return (row, column) of the largest numbers as they are shown, ties included."""
    by_row = table.best == "row"
    lines: dict[int, dict[tuple[int, int], float]] = {}
    if not table.best:
        return set()
    for r, row in enumerate(table.rows):
        for c, cell in enumerate(row):
            if isinstance(cell, float) and not math.isnan(cell):
                lines.setdefault(r if by_row else c, {})[r, c] = round(cell, DIGITS)
    return {
        place
        for line in lines.values()
        if len(line) > 1
        for place, value in line.items()
        if value == max(line.values())
    }


def _line(cells: Sequence[str] | object) -> str:
    return "| " + " | ".join(cells) + " |"  # type: ignore[arg-type]


def _markdown_text(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _latex_text(text: str) -> str:
    return "".join(_LATEX.get(c, "--" if c == "–" else c) for c in text)
