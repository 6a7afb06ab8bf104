"""Building blocks of a report page: one HTML file, no external resources, readable in print.

Every function returns HTML made by a template in `templates/`, which escapes text: callers pass
plain text.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from semla_ros.core.errors import EvaluationError
from semla_ros.core.shown import utf8
from semla_ros.core.types import UInt8Array, Vocabulary
from semla_ros.data.bags.messages import encoded
from semla_ros.evaluation.files import write_file
from semla_ros.evaluation.table import DIGITS, Cell, ResultTable, shown

if TYPE_CHECKING:
    from jinja2 import Environment

MAX_PAGE_BYTES = 8_000_000
WORST_COLUMNS = ("camera", "truth", "prediction", "error")
_TEMPLATES = Path(__file__).parent / "templates"


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


def picture_of(rgb: UInt8Array, kind: str, *, quality: int = 80) -> Picture:
    """Return (h, w, 3) RGB encoded as `kind`, `.png` or `.jpg`."""
    data = encoded(np.ascontiguousarray(rgb[..., ::-1]), kind, quality=quality).tobytes()
    return Picture(data, "image/png" if kind == ".png" else "image/jpeg")


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


@dataclass(frozen=True, slots=True)
class BadFrame:
    """One frame that went wrong.

    Attributes:
        score: Its mIoU in [0, 1].
        caption: Where it is from.
        pictures: One for each of `WORST_COLUMNS`.
    """

    score: float
    caption: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of a legend; `pattern` is a class of the page's style."""

    label: str
    color: str
    pattern: str = ""


@cache
def _environment() -> Environment:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, keep_trailing_newline=True
    )


def _block(name: str, *given: object) -> str:
    """Return what the macro `name` of blocks.html makes of its arguments."""
    return str(getattr(_environment().get_template("blocks.html").module, name)(*given))


def headlines(items: Sequence[Headline]) -> str:
    """Return big numbers side by side."""
    return _block("headlines", items)


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    digits: int = DIGITS,
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
    by_column = [[row[c] for row in rows] for c in range(len(header))]
    numeric = [
        any(isinstance(c, (int, float)) for c in column)
        and not any(isinstance(c, str) for c in column)
        for column in by_column
    ]
    texts = [[shown(cell, digits) for cell in row] for row in rows]
    return _block("table", header, texts, numeric, total, sortable)


def table_section(
    found: ResultTable,
    *,
    before: str = "",
    after: str = "",
    digits: int = DIGITS,
    sortable: bool = True,
) -> str:
    """Return a table in a section of its own, between other HTML."""
    body = table(found.header, found.rows, digits=digits, sortable=sortable)
    return section(found.title, before + body + after, note=found.note)


def film(frames: Sequence[FilmFrame], rows: Sequence[str]) -> str:
    """Return a player with slider: one picture for each of `rows`, one line of caption.

    Raises:
        EvaluationError: A frame has another number of pictures than there are rows.
    """
    if any(len(f.pictures) != len(rows) for f in frames):
        raise EvaluationError(f"expected {len(rows)} pictures a frame: {list(rows)!r}")
    data = [
        {"seconds": f.seconds, "caption": f.caption, "images": [p.uri for p in f.pictures]}
        for f in frames
    ]
    return _block("film", frames, rows, data) if frames else ""


def worst_grid(frames: Sequence[BadFrame]) -> str:
    """Return bad frames, one row of pictures each; empty without any."""
    return _block("worst_grid", frames, WORST_COLUMNS) if frames else ""


def picture(image: Picture, *, alt: str) -> str:
    """Return one image, at most as wide as the page."""
    return _block("picture", image.uri, alt)


def legend(entries: Iterable[Key], *, title: str = "", kind: str = "") -> str:
    """Return a legend; `kind` is a class of the page's style."""
    return _block("keys", list(entries), title, kind)


def class_legend(vocabulary: Vocabulary) -> str:
    """Return the class colours of the masks with their names."""
    pairs = zip(vocabulary.names, vocabulary.colors.tolist(), strict=True)
    return legend(
        (Key(name, f"rgb({red},{green},{blue})") for name, (red, green, blue) in pairs),
        kind=" classes",
    )


def warning(text: str) -> str:
    """Return a line that must not be overlooked."""
    return _block("paragraph", "warning", text)


def note(text: str) -> str:
    """Return a plain line."""
    return _block("paragraph", "note", text)


def verdict_list(lines: Iterable[str]) -> str:
    """Return sentences, the first and most important one in bold."""
    return _block("verdict", list(lines))


def section(title: str, body: str, *, note: str = "") -> str:
    """Return a section; `body` is HTML, `note` one or two plain sentences under the title."""
    return _block("section", title, body, note)


def columns(*bodies: str) -> str:
    """Return HTML bodies side by side where there is room."""
    return _block("columns", bodies)


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
    return str(
        _environment()
        .get_template("page.html")
        .render(title=title, subtitle=subtitle, sections=sections, top=top, footer=footer)
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
    write_file(path, data)
