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
    step = np.clip(((s - profile.start) * (1.0 / STEP)).astype(np.int32), 0, len(profile.kind) - 1)
    side = (x > 0).astype(np.int32)
    row = step * 2 + side
    edges = profile.edges.reshape(-1, 4)
    away = np.abs(x)
    material = np.take(profile.outer.reshape(-1), row)
    sidewalk, verge = np.take(edges[:, 3], row), np.take(edges[:, 2], row)
    material[away < sidewalk] = MATERIAL["sidewalk"]
    material[away < verge] = MATERIAL["grass"]
    parking, road = np.take(edges[:, 1], row), np.take(edges[:, 0], row)
    curb = (away < parking + 0.22) & (sidewalk > parking + 0.3)
    material[curb] = MATERIAL["curb"]
    material[away < parking] = MATERIAL["parking"]
    on_road = away < road
    material[on_road] = MATERIAL["road"]
    kind = np.take(profile.kind, step)
    material[kind == 1] = MATERIAL["road"]
    _mark(material, np.take(profile.marking, step), kind, on_road, x, s, road)
    return material


def _mark(
    material: NDArray[np.uint8],
    marking: NDArray[np.uint8],
    kind: NDArray[np.uint8],
    on_road: NDArray[np.bool_],
    x: NDArray[np.float32],
    s: NDArray[np.float32],
    road: NDArray[np.float32],
) -> None:
    """Paints lane markings and zebra crossings into material, in place."""
    style = marking & 3
    plain = on_road & (kind == 0)
    dash = np.mod(s, 6.0) < 3.0
    lane = np.abs(np.mod(x + 1.6, 3.2) - 1.6)
    line = (np.abs(x) < 0.09) & ((style == 2) | ((style == 1) & dash))
    line |= (lane < 0.09) & (style == 3) & dash
    line &= plain
    material[line] = MATERIAL["marking"]
    material[line & (marking >= 8)] = MATERIAL["yellow_marking"]
    edge = plain & ((marking & 4) > 0) & (np.abs(np.abs(x) - road + 0.25) < 0.08)
    zebra = on_road & (kind == 2) & (np.mod(x, 1.1) < 0.55)
    material[edge | zebra] = MATERIAL["marking"]
