"""A legend image: one swatch and name per class."""

from __future__ import annotations

import cv2
import numpy as np

from semla_ros.core.types import UInt8Array, Vocabulary

_ROW = 26
_SWATCH = 18
_PAD = 8
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SCALE = 0.5
_MAX_ROWS = 30


def legend(vocabulary: Vocabulary) -> UInt8Array:
    """Return a legend (H, W, 3) uint8 RGB, filled column by column, of classes in id order.

    A name is shown up to its first comma.
    """
    names = [f"{i} {name.split(',')[0].strip()}" for i, name in enumerate(vocabulary.names)]
    rows = min(len(names), _MAX_ROWS)
    columns = -(-len(names) // rows)
    width = 3 * _PAD + _SWATCH + max(_text_width(name) for name in names)
    image = np.full((rows * _ROW + _PAD, columns * width, 3), 255, np.uint8)
    for index, (name, color) in enumerate(zip(names, vocabulary.colors, strict=True)):
        left = (index // rows) * width + _PAD
        top = (index % rows) * _ROW + _PAD
        image[top : top + _SWATCH, left : left + _SWATCH] = color
        where = (left + _SWATCH + _PAD, top + _SWATCH - 4)
        cv2.putText(image, _printable(name), where, _FONT, _SCALE, (0, 0, 0), 1, cv2.LINE_AA)
    return image


def _text_width(text: str) -> int:
    (width, _), _ = cv2.getTextSize(_printable(text), _FONT, _SCALE, 1)
    return int(width)


def _printable(text: str) -> str:
    """Return `text` with what the built-in font lacks replaced by `?`."""
    return text.encode("ascii", "replace").decode()
