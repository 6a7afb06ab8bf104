"""The film strip: a picture with camera, mask and overlay under each other, time to the right."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from semla_ros.errors import EvaluationError
from semla_ros.evaluation.film import FILM_ROWS, Moment, evenly
from semla_ros.types import UInt8Array, Vocabulary

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_INK, _MUTED, _PAPER = (41, 41, 31), (127, 114, 102), 255
_MARGIN, _GAP, _LABELS, _HEAD, _KEY = 16, 8, 76, 46, 24
_BYTES_PER_PIXEL = 3
MAX_COLUMNS = 12


def film_strip(
    moments: Sequence[Moment],
    vocabulary: Vocabulary,
    *,
    columns: int = 5,
    column_width: int = 300,
    start_ns: int | None = None,
) -> UInt8Array:
    """Return the strip as (h, w, 3) uint8 RGB: rows of `FILM_ROWS`, then the legend.

    Args:
        moments: In order; at most `columns` of them are shown, first and last included.
        vocabulary: Names and colours of the legend.
        columns: At most `MAX_COLUMNS`.
        column_width: Pixels.
        start_ns: Zero of the times above the columns; None takes the first moment.

    Raises:
        EvaluationError: There is no moment.
    """
    if not moments:
        raise EvaluationError("expected at least one segmented frame for a film strip, got none")
    shown = evenly(moments, min(columns, MAX_COLUMNS))
    start = moments[0].stamp_ns if start_ns is None else start_ns
    height = max(1, round(shown[0].camera.shape[0] * column_width / shown[0].camera.shape[1]))
    width = 2 * _MARGIN + _LABELS + len(shown) * (column_width + _GAP) - _GAP
    legend = _legend(vocabulary, width)
    top = _MARGIN + _HEAD
    total = top + len(FILM_ROWS) * (height + _GAP) + len(legend) + _MARGIN
    canvas = np.full((total, width, _BYTES_PER_PIXEL), _PAPER, dtype=np.uint8)
    for row, name in enumerate(FILM_ROWS):
        middle = top + row * (height + _GAP) + height // 2
        _write(canvas, name, (_MARGIN, middle + 5), color=_MUTED)
    for column, moment in enumerate(shown):
        x = _MARGIN + _LABELS + column * (column_width + _GAP)
        _head(canvas, moment, (x, _MARGIN), (moment.stamp_ns - start) * 1e-9)
        pictures = (moment.camera, moment.mask, moment.overlay)
        methods = (cv2.INTER_AREA, cv2.INTER_NEAREST_EXACT, cv2.INTER_AREA)
        for row, (picture, method) in enumerate(zip(pictures, methods, strict=True)):
            y = top + row * (height + _GAP)
            resized = cv2.resize(picture, (column_width, height), interpolation=method)
            canvas[y : y + height, x : x + column_width] = resized
    canvas[total - len(legend) - _MARGIN : total - _MARGIN] = legend
    return canvas


def _head(canvas: UInt8Array, moment: Moment, corner: tuple[int, int], seconds: float) -> None:
    x, y = corner
    _write(canvas, f"{seconds:.1f} s", (x, y + 14), color=_INK, scale=0.56)
    strongest = f"{moment.mix.names[0]} {100 * moment.mix.weights[0]:.0f} %"
    level = "" if moment.support is None else moment.support.level.replace("_", " ").lower()
    line = f"{strongest}   support {level}" if level else strongest
    _write(canvas, line, (x, y + 34), color=_MUTED, scale=0.48)


def _legend(vocabulary: Vocabulary, width: int) -> UInt8Array:
    """Return the class colours with their names, in as many lines as they need."""
    lines: list[list[tuple[int, str, tuple[int, ...]]]] = [[]]
    x = _MARGIN + _LABELS
    for name, color in zip(vocabulary.names, vocabulary.colors.tolist(), strict=True):
        (text_width, _), _ = cv2.getTextSize(name, _FONT, 0.45, 1)
        needed = 20 + text_width + 18
        if x + needed > width - _MARGIN and lines[-1]:
            lines.append([])
            x = _MARGIN + _LABELS
        lines[-1].append((x, name, tuple(color)))
        x += needed
    picture = np.full((_KEY * len(lines) + 6, width, _BYTES_PER_PIXEL), _PAPER, dtype=np.uint8)
    for index, line in enumerate(lines):
        y = index * _KEY + 6
        for left, name, color in line:
            cv2.rectangle(picture, (left, y + 2), (left + 13, y + 15), color, cv2.FILLED)
            cv2.rectangle(picture, (left, y + 2), (left + 13, y + 15), _MUTED, 1)
            _write(picture, name, (left + 20, y + 14), color=_INK, scale=0.45)
    return picture


def _write(
    canvas: UInt8Array,
    text: str,
    origin: tuple[int, int],
    *,
    color: tuple[int, int, int],
    scale: float = 0.52,
) -> None:
    printable = text.encode("ascii", "replace").decode("ascii")
    cv2.putText(canvas, printable, origin, _FONT, scale, color, 1, cv2.LINE_AA)
