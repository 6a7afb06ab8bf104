"""A small picture of what serves and how far to trust it, for viewers that show no text."""

from __future__ import annotations

import math
from collections.abc import Mapping

import cv2
import numpy as np

from semla_ros.core.answers import SupportReading
from semla_ros.core.types import AdapterMix, UInt8Array

SIZE = (480, 270)
"""Width and height, px."""

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_LARGE, _SMALL = 0.95, 0.55
_LINE = 25
_ROW = 26
_TOP = 138
_BAR_LEFT, _BAR_RIGHT = 200, 420
_MAX_ROWS = 5
_BACK, _INK, _FAINT, _BAR = (24, 27, 32), (235, 235, 235), (70, 75, 82), (86, 180, 233)
_LEVEL: Mapping[str, tuple[int, int, int]] = {
    "OK": (0, 158, 115),
    "LOW": (230, 159, 0),
    "OUT_OF_LIBRARY": (213, 94, 0),
    "STALE": (150, 150, 150),
}
"""Okabe and Ito's colours, which colour-blind people tell apart."""


def status(mix: AdapterMix, support: SupportReading | None) -> UInt8Array:
    """Return a picture (270, 480, 3) uint8 RGB: support level and figures, the mix as bars.

    Args:
        mix: What made the mask; the five heaviest are shown.
        support: None without a navigator or before its first observation.
    """
    width, height = SIZE
    image: UInt8Array = np.full((height, width, 3), _BACK, np.uint8)
    level = support.level if support is not None else "no support reading"
    color = _LEVEL.get(level, _LEVEL["STALE"])
    cv2.rectangle(image, (0, 0), (8, height), color, -1)
    _text(image, level.replace("_", " "), (20, 34), color, scale=_LARGE)
    for row, line in enumerate(_figures(support)):
        _text(image, line, (20, 64 + row * _LINE), _INK)
    shares = sorted(zip(mix.weights, mix.names, strict=True), reverse=True)[:_MAX_ROWS]
    for row, (weight, name) in enumerate(shares):
        _bar(image, _TOP + row * _ROW, name, weight)
    return image


def _figures(support: SupportReading | None) -> list[str]:
    """Return what a reading says, at most three lines; STALE knows no adapter."""
    if support is None:
        return []
    if support.level == "STALE":
        return ["no usable image: nothing is known", "of what the camera sees now"]
    lines = [f"support {support.smoothed:.3g}", f"nearest adapter {support.nearest}"]
    if math.isfinite(support.miou_lower):
        lines.append(f"mIoU is meant to stay above {support.miou_lower:.2f}")
    return lines


def _bar(image: UInt8Array, top: int, name: str, weight: float) -> None:
    bottom = top + _ROW - 6
    filled = _BAR_LEFT + round((_BAR_RIGHT - _BAR_LEFT) * min(1.0, max(0.0, weight)))
    cv2.rectangle(image, (_BAR_LEFT, top), (_BAR_RIGHT, bottom), _FAINT, -1)
    cv2.rectangle(image, (_BAR_LEFT, top), (filled, bottom), _BAR, -1)
    _text(image, name[:18], (20, bottom), _INK)
    _text(image, f"{weight:.2f}", (_BAR_RIGHT + 8, bottom), _INK)


def _text(
    image: UInt8Array,
    text: str,
    where: tuple[int, int],
    color: tuple[int, int, int],
    *,
    scale: float = _SMALL,
) -> None:
    printable = text.encode("ascii", "replace").decode()
    thickness = 2 if scale > _SMALL else 1
    cv2.putText(image, printable, where, _FONT, scale, color, thickness, cv2.LINE_AA)
