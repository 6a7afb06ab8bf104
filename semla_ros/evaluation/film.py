"""A sample of a replay to look at: evenly spaced moments, as film strip and for the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from semla_ros.answers import SupportReading
from semla_ros.evaluation.page import FilmFrame, picture_of
from semla_ros.evaluation.replay import FrameView
from semla_ros.types import AdapterMix, UInt8Array, Vocabulary

FILM_ROWS = ("camera", "mask", "overlay")
WIDTH = 400
BUDGET_BYTES = 5_000_000
_QUALITIES = (82, 68, 52)


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
