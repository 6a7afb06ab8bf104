"""What the JSON of labelling tools is read with; every complaint is a ValueError of one line."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from semla_ros.core.errors import FrameError
from semla_ros.core.files.checks import integer, unfit
from semla_ros.core.files.image_codec import check_pixels
from semla_ros.core.files.image_file import DEFAULT_MAX_PIXELS
from semla_ros.core.types import LabelArray

_SIDE = integer(1, 65_535)
_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


def member(value: Any, key: str, kind: type) -> Any:  # noqa: ANN401  JSON
    """Return `value[key]`, which must be a `kind`.

    Raises:
        ValueError: There is no such key, or it holds something else.
    """
    if not isinstance(value, dict) or key not in value:
        raise unfit(key, "an entry of this name", value)
    if not isinstance(value[key], kind):
        raise unfit(key, f"a {kind.__name__}", value[key])
    return value[key]


def blank(value: Any, height: str, width: str, *, unlabeled: int) -> LabelArray:  # noqa: ANN401
    """Return a mask (H, W) uint16 full of `unlabeled`, of the size in two entries of `value`.

    Raises:
        ValueError: There is no size, or one beyond what images have.
    """
    sides = [member(value, key, int) for key in (height, width)]
    for key, side in zip((height, width), sides, strict=True):
        _SIDE(side, key)
    try:
        check_pixels(sides[0], sides[1], DEFAULT_MAX_PIXELS)
    except FrameError as error:
        raise ValueError(str(error)) from error
    return np.full(sides, unlabeled, np.uint16)


def index_of(label: object, classes: tuple[str, ...]) -> int:
    """Return the id of a label.

    Raises:
        ValueError: It is none of the classes.
    """
    if label not in classes:
        raise ValueError(
            f"label {label!r} is none of the set's classes {list(classes)!r}: rename it there"
        )
    return classes.index(str(label))


def image_name(address: str) -> str:
    """Return the name of the image at an address of a tool: without folders, query and ending.

    It may be in the query itself (`?d=a.png`) or before one that signs it (`a.png?sign=x`).
    """
    parts = [PurePosixPath(part) for part in re.split(r"[/\\=?&#]", address)]
    return ([p for p in parts if p.suffix.lower() in _IMAGES] or parts)[-1].stem
