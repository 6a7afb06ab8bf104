"""The ground: a lengthwise profile of road, verge, sidewalk and what lies beyond."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from semla_ros.demo.world.classes import ROAD, SIDEWALK, VEGETATION

STEP: Final = 0.25
MATERIALS: Final[tuple[str, ...]] = (
    "sky",
    "road",
    "marking",
    "yellow_marking",
    "parking",
    "curb",
    "sidewalk",
    "plaza",
    "grass",
    "field",
)
MATERIAL: Final[dict[str, int]] = {name: index for index, name in enumerate(MATERIALS)}
MATERIAL_LABEL: Final[dict[str, int]] = {
    "road": ROAD,
    "marking": ROAD,
    "yellow_marking": ROAD,
    "parking": ROAD,
    "curb": SIDEWALK,
    "sidewalk": SIDEWALK,
    "plaza": SIDEWALK,
    "grass": VEGETATION,
    "field": VEGETATION,
}


@dataclass(frozen=True, eq=False)
class Profile:
    """What lies across the street at every STEP metres from `start` on, N steps.

    Attributes:
        start: s of the first step.
        edges: (N, 2, 4) float32, per side (left, right) the distance from the centre line at
            which road, parking lane, verge and sidewalk end.
        outer: (N, 2) uint8 material beyond the sidewalk.
        kind: (N,) uint8: 0 plain, 1 junction (road from side to side), 2 zebra crossing.
        marking: (N,) uint8: 0 none, 1 dashed centre, 2 solid centre, 3 dashed lanes;
            add 4 for edge lines, 8 for yellow.
    """

    start: float
    edges: NDArray[np.float32]
    outer: NDArray[np.uint8]
    kind: NDArray[np.uint8]
    marking: NDArray[np.uint8]


def materials(
    profile: Profile, x: NDArray[np.float32], s: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """The material id at world positions.

    Args:
        profile: The street.
        x: (P,) metres right of the centre line.
        s: (P,) metres along the street.

    Returns:
        (P,) uint8 positions in MATERIALS.
    """
    last = len(profile.kind) - 1
    step = np.clip(((s - profile.start) * np.float32(1.0 / STEP)).astype(np.intp), 0, last)
    row = step * 2 + (x > 0)
    edges = np.take(profile.edges.reshape(-1, 4).T.copy(), row, axis=1)
    road, parking, verge, sidewalk = edges
    away = np.abs(x)
    material = np.take(profile.outer.reshape(-1), row)
    material[away < sidewalk] = MATERIAL["sidewalk"]
    material[away < verge] = MATERIAL["grass"]
    curb = (away < parking + np.float32(0.22)) & (sidewalk > parking + np.float32(0.3))
    material[curb] = MATERIAL["curb"]
    material[away < parking] = MATERIAL["parking"]
    on_road = away < road
    material[on_road] = MATERIAL["road"]
    kind, marking = np.take(profile.kind, step), np.take(profile.marking, step)
    material[kind == 1] = MATERIAL["road"]
    at = np.flatnonzero(on_road & ((marking > 0) | (kind == 2)) & (kind != 1))
    material[at] = _marked(marking[at], kind[at], x[at], s[at], road[at])
    return np.asarray(material, np.uint8)


def _marked(
    marking: NDArray[np.uint8],
    kind: NDArray[np.uint8],
    x: NDArray[np.float32],
    s: NDArray[np.float32],
    road: NDArray[np.float32],
) -> NDArray[np.uint8]:
    """Materials of road positions with lane markings and zebra crossings."""
    style, away = marking & 3, np.abs(x)
    dash = _fraction(s * np.float32(1 / 6)) < 0.5
    lane = np.abs(_fraction(x * np.float32(1 / 3.2) + np.float32(0.5)) - np.float32(0.5))
    line = (away < 0.09) & ((style == 2) | ((style == 1) & dash))
    line |= (lane < 0.028) & (style == 3) & dash
    edge = ((marking & 4) > 0) & (np.abs(away - road + np.float32(0.25)) < 0.08)
    zebra = (kind == 2) & (_fraction(x * np.float32(1 / 1.1)) < 0.5)
    white = np.where(kind == 2, zebra, line | edge)
    out = np.where(white, MATERIAL["marking"], MATERIAL["road"]).astype(np.uint8)
    out[line & (kind == 0) & (marking >= 8)] = MATERIAL["yellow_marking"]
    return np.asarray(out, np.uint8)


def _fraction(value: NDArray[np.float32]) -> NDArray[np.float32]:
    """Value modulo 1."""
    return np.asarray(value - np.floor(value), np.float32)
