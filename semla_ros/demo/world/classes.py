"""The label set, the weather domains and the words for both."""

from __future__ import annotations

from typing import Final

CLASSES: Final[tuple[str, ...]] = (
    "road",
    "sidewalk",
    "building",
    "vegetation",
    "sky",
    "car",
    "person",
    "pole",
    "sign",
)
"""Class names; a label image holds the position of a name in this tuple."""

ROAD, SIDEWALK, BUILDING, VEGETATION, SKY, CAR, PERSON, POLE, SIGN = range(len(CLASSES))

DOMAINS: Final[tuple[str, ...]] = (
    "clear-day",
    "clear-night",
    "fog-day",
    "fog-night",
    "rain-day",
    "rain-night",
    "snow-day",
    "snow-night",
)
"""Domain names, ``<weather>-<time of day>``."""

SYNONYMS: Final[dict[str, tuple[str, ...]]] = {
    "road": ("road", "street"),
    "sidewalk": ("sidewalk", "pavement"),
    "building": ("building", "house"),
    "vegetation": ("vegetation", "tree", "trees"),
    "sky": ("sky",),
    "car": ("car", "vehicle", "automobile"),
    "person": ("person", "pedestrian"),
    "pole": ("pole", "lamp post"),
    "sign": ("sign", "traffic sign"),
}
"""Words a caption may use for each class; the class name is the first one."""
