"""A sample of a replay to look at: evenly spaced moments, as film strip and for the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from semla_ros.core.answers import SupportReading
from semla_ros.core.errors import EvaluationError
from semla_ros.core.types import AdapterMix, UInt8Array, Vocabulary
from semla_ros.evaluation.page import FilmFrame, picture_of
from semla_ros.evaluation.replay import FrameView

FILM_ROWS = ("camera", "mask", "overlay")
WIDTH = 400
BUDGET_BYTES = 5_000_000
_QUALITIES = (82, 68, 52)
MAX_COLUMNS = 12
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_INK, _MUTED, _PAPER = (41, 41, 31), (127, 114, 102), 255
_MARGIN, _GAP, _LABELS, _HEAD, _KEY = 16, 8, 76, 46, 24
_BYTES_PER_PIXEL = 3


@dataclass(frozen=True, slots=True)
class Moment:
    """One sampled frame, small.

    Attributes:
        stamp_ns: Its stamp.
        camera, mask, overlay: (h, w, 3) uint8 RGB of one size.
        mix: What made the mask.
        support: None without a navigator.
    """

    stamp_ns: int
    camera: UInt8Array
    mask: UInt8Array
    overlay: UInt8Array
    mix: AdapterMix
    support: SupportReading | None


class FilmSink:
    """Keeps at most `limit` evenly spaced moments of a stream of unknown length.

    Every `stride`-th frame is kept; when there are too many, every second one is forgotten and
    the stride doubles, so the same stream always gives the same moments.
    """

    def __init__(self, limit: int = 48, *, width: int = WIDTH) -> None:
        self.moments: list[Moment] = []
        self.vocabulary: Vocabulary | None = None
        self._limit = max(2, limit)
        self._width = width
        self._stride = 1
        self._seen = 0

    def add(self, view: FrameView) -> None:
        """Keep this frame if it is one of the evenly spaced ones."""
        if self._seen % self._stride == 0:
            self.moments.append(_moment(view, self._width))
            self.vocabulary = view.result.vocabulary
        self._seen += 1
        if len(self.moments) > self._limit:
            del self.moments[1::2]
            self._stride *= 2


def _moment(view: FrameView, width: int) -> Moment:
    height = max(1, round(view.frame.rgb.shape[0] * width / view.frame.rgb.shape[1]))
    size = (width, height)
    result = view.result
    return Moment(
        result.stamp_ns,
        _resized(view.frame.rgb, size, cv2.INTER_AREA),
        _resized(view.mask_rgb, size, cv2.INTER_NEAREST_EXACT),
        _resized(view.overlay, size, cv2.INTER_AREA),
        result.mix,
        result.support,
    )


def _resized(image: UInt8Array, size: tuple[int, int], interpolation: int) -> UInt8Array:
    return np.asarray(cv2.resize(image, size, interpolation=interpolation), dtype=np.uint8)


def evenly(moments: Sequence[Moment], count: int) -> list[Moment]:
    """Return at most `count` of the moments, first and last included."""
    if len(moments) <= count:
        return list(moments)
    return [moments[round(i)] for i in np.linspace(0, len(moments) - 1, count)]


def mix_text(mix: AdapterMix, *, parts: int = 3) -> str:
    """Return a mix for people: `fog-day 61 % + rain-day 39 %`."""
    shown = [
        f"{name} {100 * weight:.0f} %"
        for name, weight in zip(mix.names[:parts], mix.weights[:parts], strict=True)
    ]
    more = len(mix.names) - parts
    return " + ".join(shown) + (f" + {more} more" if more > 0 else "")


def support_text(support: SupportReading | None) -> str:
    """Return a support reading for people: `support 0.82, low`."""
    if support is None:
        return "no support score"
    return f"support {support.smoothed:.2f}, {support.level.replace('_', ' ').lower()}"


def film_frames(
    moments: Sequence[Moment], *, start_ns: int, captions: Sequence[str] = ()
) -> list[FilmFrame]:
    """Return the moments for `page.film` with the rows `FILM_ROWS`, within `BUDGET_BYTES`.

    Args:
        moments: From a `FilmSink`.
        start_ns: Where the page's timeline begins.
        captions: Words put before each caption, e.g. the true domain; as many as moments, or none.
    """
    words = list(captions) or [""] * len(moments)
    chosen = list(zip(moments, words, strict=True))
    while chosen:
        for quality in _QUALITIES:
            frames = [_film_frame(m, w, start_ns, quality) for m, w in chosen]
            if sum(len(p.data) for f in frames for p in f.pictures) <= BUDGET_BYTES:
                return frames
        if len(chosen) == 1:
            return frames
        chosen = chosen[::2]
    return []


def _film_frame(moment: Moment, words: str, start_ns: int, quality: int) -> FilmFrame:
    seconds = (moment.stamp_ns - start_ns) * 1e-9
    pieces = [f"{seconds:.1f} s", words, mix_text(moment.mix), support_text(moment.support)]
    pictures = (
        picture_of(moment.camera, ".jpg", quality=quality),
        picture_of(moment.mask, ".png"),
        picture_of(moment.overlay, ".jpg", quality=quality),
    )
    return FilmFrame(seconds, " · ".join(p for p in pieces if p), pictures)


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
