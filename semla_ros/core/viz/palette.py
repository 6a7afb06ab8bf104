"""One colour per class name, the same wherever and whenever the name appears."""

from __future__ import annotations

import colorsys
import hashlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from semla_ros.core.types import UInt8Array, Vocabulary

Rgb = tuple[int, int, int]

ROAD_SCENE: Mapping[str, Rgb] = MappingProxyType(
    {
        "road": (128, 64, 128),
        "sidewalk": (244, 35, 232),
        "building": (70, 70, 70),
        "wall": (102, 102, 156),
        "fence": (190, 153, 153),
        "pole": (153, 153, 153),
        "traffic light": (250, 170, 30),
        "traffic sign": (220, 220, 0),
        "vegetation": (107, 142, 35),
        "terrain": (152, 251, 152),
        "sky": (70, 130, 180),
        "person": (220, 20, 60),
        "rider": (255, 0, 0),
        "car": (0, 0, 142),
        "truck": (0, 0, 70),
        "bus": (0, 60, 100),
        "train": (0, 80, 100),
        "motorcycle": (0, 0, 230),
        "bicycle": (119, 11, 32),
    }
)
"""The colours people know from Cityscapes."""

_SYNONYMS: Mapping[str, str] = MappingProxyType(
    {
        "street": "road",
        "pavement": "sidewalk",
        "house": "building",
        "sign": "traffic sign",
        "tree": "vegetation",
        "trees": "vegetation",
        "pedestrian": "person",
        "vehicle": "car",
        "automobile": "car",
        "motorbike": "motorcycle",
        "bike": "bicycle",
    }
)

_SATURATIONS = (0.55, 0.75, 0.95)
_VALUES = (0.65, 0.82, 0.98)


def color_of(name: str) -> Rgb:
    """Return the colour of a class name: its first synonym decides, case does not matter."""
    word = name.split(",")[0].strip().lower()
    word = _SYNONYMS.get(word, word)
    if word in ROAD_SCENE:
        return ROAD_SCENE[word]
    digest = hashlib.sha256(word.encode()).digest()
    hue = int.from_bytes(digest[:4], "big") / 2**32
    saturation = _SATURATIONS[digest[4] % len(_SATURATIONS)]
    value = _VALUES[digest[5] % len(_VALUES)]
    red, green, blue = (round(255 * c) for c in colorsys.hsv_to_rgb(hue, saturation, value))
    return red, green, blue


def colors_for(names: Sequence[str]) -> UInt8Array:
    """Return RGB colours (T, 3) uint8 of class names."""
    return np.asarray([color_of(name) for name in names], np.uint8).reshape(-1, 3)


def vocabulary_of(names: Sequence[str]) -> Vocabulary:
    """Return the vocabulary of class names in this order, with their colours.

    Raises:
        VocabularyError: Empty, too long, or with repeated names.
    """
    return Vocabulary(tuple(names), colors_for(names))
