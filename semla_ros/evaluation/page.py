"""Building blocks of a report page: one HTML file, no external resources, readable in print.

Every function returns HTML; text is escaped here, so callers pass plain text.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from semla_ros.errors import EvaluationError
from semla_ros.evaluation.page_style import SCRIPT, STYLE
from semla_ros.shown import utf8
from semla_ros.types import Vocabulary
from semla_ros.whole_file import write_file

MAX_PAGE_BYTES = 8_000_000
Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class Headline:
    """One big number: `value` over `label`, with a word of `detail`."""

    value: str
    label: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded image: `mime` is `image/jpeg` or `image/png`."""

    data: bytes
    mime: str

    @property
    def uri(self) -> str:
        """The image as a data URI."""
        return f"data:{self.mime};base64,{base64.b64encode(self.data).decode('ascii')}"


@dataclass(frozen=True, slots=True)
class FilmFrame:
    """One moment of a film.

    Attributes:
        seconds: Since the start of the timeline.
        caption: One line about it.
        pictures: As many as the film has rows, in the film's order.
    """

    seconds: float
    caption: str
    pictures: tuple[Picture, ...]


def headlines(items: Sequence[Headline]) -> str:
    """Return big numbers side by side."""
    cards = "".join(
        f'<div class="headline"><b>{escape(i.value)}</b><span>{escape(i.label)}</span>'
        f"<small>{escape(i.detail)}</small></div>"
        for i in items
    )
    return f'<div class="headlines">{cards}</div>'


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    digits: int = 1,
    total: bool = False,
    sortable: bool = False,
) -> str:
    """Return a table; columns of numbers are set right, None is an empty cell.

    Args:
        header: Column names.
        rows: As many cells each.
        digits: Decimals of floats.
        total: Sets the last row apart.
        sortable: A click on a column name sorts by it.

    Raises:
        EvaluationError: A row has another number of cells than the header.
    """
    if any(len(row) != len(header) for row in rows):
        raise EvaluationError(
            f"expected rows of {len(header)} cells, got {[len(r) for r in rows]!r}"
        )
    numeric = [
        any(isinstance(row[c], (int, float)) for row in rows)
        and not any(isinstance(row[c], str) for row in rows)
        for c in range(len(header))
    ]
    head = "".join(
        f"<th{_numeric(n)}>{escape(h)}</th>" for h, n in zip(header, numeric, strict=True)
    )
    body = []
    for index, row in enumerate(rows):
        cells = "".join(
            f"<td{_numeric(n)}>{_cell(c, digits)}</td>" for c, n in zip(row, numeric, strict=True)
        )
        last = total and index == len(rows) - 1
        kind = ' class="total"' if last else ""
        body.append(f"<tr{kind}>{cells}</tr>")
    kind = ' class="sortable"' if sortable else ""
    return (
        f'<div class="scroll"><table{kind}><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _numeric(numeric: bool) -> str:
    return ' class="n"' if numeric else ""


def _cell(value: Cell, digits: int) -> str:
    if value is None or value != value:
        return "–"
    if isinstance(value, float):
        return f"{value:.{digits}f}"
    return escape(str(value))


def film(frames: Sequence[FilmFrame], rows: Sequence[str]) -> str:
    """Return a player with slider: one picture for each of `rows`, one line of caption.

    Raises:
        EvaluationError: A frame has another number of pictures than there are rows.
    """
    if any(len(f.pictures) != len(rows) for f in frames):
        raise EvaluationError(f"expected {len(rows)} pictures a frame: {list(rows)!r}")
    if not frames:
        return ""
    figures = "".join(
        f'<figure><img src="{picture.uri}" alt="{escape(row, quote=True)}">'
        f"<figcaption>{escape(row)}</figcaption></figure>"
        for row, picture in zip(rows, frames[0].pictures, strict=True)
    )
    data = [
        {"seconds": f.seconds, "caption": f.caption, "images": [p.uri for p in f.pictures]}
        for f in frames
    ]
    script = json.dumps(data).replace("<", "\\u003c")
    return (
        f'<div class="film"><div class="film-images">{figures}</div>'
        '<div class="film-controls"><button type="button">Play</button>'
        f'<input type="range" min="0" max="{len(frames) - 1}" value="0" aria-label="Frame"></div>'
        f'<p class="film-caption">{escape(frames[0].caption)}</p>'
        f'<script type="application/json">{script}</script></div>'
    )


def picture(image: Picture, *, alt: str) -> str:
    """Return one image, at most as wide as the page."""
    return (
        f'<figure class="strip"><img src="{image.uri}" alt="{escape(alt, quote=True)}"></figure>'
    )


def class_legend(vocabulary: Vocabulary) -> str:
    """Return the class colours of the masks with their names."""
    keys = "".join(
        '<span class="key"><i class="swatch" style="background-color:'
        f'rgb({red},{green},{blue})"></i>{escape(name)}</span>'
        for name, (red, green, blue) in zip(
            vocabulary.names, vocabulary.colors.tolist(), strict=True
        )
    )
    return f'<div class="legend classes">{keys}</div>'


def warning(text: str) -> str:
    """Return a line that must not be overlooked."""
    return f'<p class="warning">{escape(text)}</p>'


def section(title: str, body: str, *, note: str = "") -> str:
    """Return a section; `body` is HTML, `note` one or two plain sentences under the title."""
    under = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{under}{body}</section>"


def columns(*bodies: str) -> str:
    """Return HTML bodies side by side where there is room."""
    return f'<div class="columns">{"".join(f"<div>{b}</div>" for b in bodies)}</div>'


def page(
    title: str, subtitle: str, sections: Sequence[str], *, top: str = "", footer: str = ""
) -> str:
    """Return the whole page.

    Args:
        title: Also the document's title.
        subtitle: One or two plain sentences.
        sections: HTML, see `section`.
        top: HTML between title and sections: headlines, warnings.
        footer: Plain text.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f'<header><h1>{escape(title)}</h1><p class="subtitle">{escape(subtitle)}</p></header>'
        f"{top}{''.join(sections)}<footer>{escape(footer)}</footer></main>"
        f"<script>{SCRIPT}</script></body></html>\n"
    )


def write_page(path: Path, html: str) -> None:
    """Write a page; it appears when it is whole.

    Raises:
        EvaluationError: It is over `MAX_PAGE_BYTES`, or the place cannot be written.
    """
    data = utf8(html)
    if len(data) > MAX_PAGE_BYTES:
        raise EvaluationError(
            f"expected a page of at most {MAX_PAGE_BYTES} bytes, got {len(data)}: "
            "give the film fewer or smaller frames"
        )
    write_file(path, data, error=EvaluationError)
