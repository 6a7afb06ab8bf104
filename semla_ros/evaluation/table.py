"""Tables of results as Markdown, LaTeX and CSV; the best of each column or row is marked."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from semla_ros.core.errors import EvaluationError

Cell = str | int | float | None
_T = TypeVar("_T")
DIGITS = 1
_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "–": "--",
        **{c: f"\\{c}" for c in "&%$#_{}"},
    }
)


@dataclass(frozen=True, slots=True)
class ResultTable:
    """One table.

    Attributes:
        name: Of its files; empty where it has none.
        title: Over it.
        header: Column names.
        rows: As many cells each; NaN and None mean not scored.
        note: What a reader should know.
        best: `column` or `row`: where the largest number is marked; empty: nowhere.
    """

    name: str
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    best: str = ""

    def __post_init__(self) -> None:
        wrong = [row for row in self.rows if len(row) != len(self.header)]
        if wrong:
            raise EvaluationError(f"expected rows of {len(self.header)} cells, got {wrong[0]!r}")


def table_of(
    title: str,
    items: Iterable[_T],
    columns: Mapping[str, Callable[[_T], Cell]],
    *,
    name: str = "",
    note: str = "",
    best: str = "",
) -> ResultTable:
    """Return a table with a row for each of `items`; `columns`: name -> what stands there."""
    rows = tuple(tuple(cell(item) for cell in columns.values()) for item in items)
    return ResultTable(name, title, tuple(columns), rows, note, best)


def markdown(table: ResultTable) -> str:
    """Return a Markdown table with its title; the best numbers bold."""
    head = [_markdown_text(name) for name in table.header]
    rule = ["---", *["---:"] * (len(head) - 1)]
    rows = _texts(table, _markdown_text, "**{}**")
    lines = [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]
    note = ["", table.note] if table.note else []
    return "\n".join([f"### {table.title}", "", *lines, *note, ""])


def latex(table: ResultTable) -> str:
    """Return a LaTeX table (packages booktabs, graphicx) that fits the text width."""
    head = " & ".join(name.translate(_LATEX) for name in table.header)
    rows = _texts(table, lambda text: text.translate(_LATEX), r"\textbf{{{}}}")
    body = "\n".join(" & ".join(cells) + r" \\" for cells in rows)
    return rf"""\begin{{table}}[t]
\centering
\caption{{{table.title.translate(_LATEX)}. {table.note.translate(_LATEX)}}}
\label{{tab:semla-{table.name}}}
\resizebox{{\linewidth}}{{!}}{{%
\begin{{tabular}}{{l{"r" * (len(table.header) - 1)}}}
\toprule
{head} \\
\midrule
{body}
\bottomrule
\end{{tabular}}}}
\end{{table}}
"""


def comma_separated(table: ResultTable) -> str:
    """Return the table as CSV, full precision, empty cells where not scored."""
    return csv_text(table.header, (["" if _missing(c) else c for c in row] for row in table.rows))


def csv_text(header: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """Return `header` and `rows` as CSV with Unix line ends."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([header, *rows])
    return out.getvalue()


def shown(cell: Cell, digits: int = DIGITS) -> str:
    """Return a cell as text; a dash where not scored."""
    if _missing(cell):
        return "–"
    return f"{cell:.{digits}f}" if isinstance(cell, float) else str(cell)


def _missing(cell: Cell) -> bool:
    return cell is None or cell != cell


def _texts(table: ResultTable, escape: Callable[[str], str], bold: str) -> list[list[str]]:
    """Return the escaped texts of all cells, the best of them set in `bold`."""
    best = _best(table)
    return [
        [bold.format(text) if (r, c) in best else text for c, text in enumerate(texts)]
        for r, texts in enumerate([escape(shown(cell)) for cell in row] for row in table.rows)
    ]


def _best(table: ResultTable) -> set[tuple[int, int]]:
    """Return (row, column) of the largest numbers as they are shown, ties included."""
    lines: dict[int, dict[tuple[int, int], float]] = {}
    for r, row in enumerate(table.rows if table.best else ()):
        for c, cell in enumerate(row):
            if isinstance(cell, float) and not math.isnan(cell):
                lines.setdefault(r if table.best == "row" else c, {})[r, c] = round(cell, DIGITS)
    return {
        place
        for line in lines.values()
        if len(line) > 1
        for place, value in line.items()
        if value == max(line.values())
    }


def _markdown_text(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
