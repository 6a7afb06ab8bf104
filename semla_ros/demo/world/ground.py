"""The ground: a lengthwise profile of road, verge, sidewalk and what lies beyond."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from semla_ros.demo.world.classes import ROAD, SIDEWALK, SKY, VEGETATION

STEP: Final = 0.25


@dataclass(frozen=True, slots=True)
class Material:
    """What the ground may be made of.

    Attributes:
        label: Class id.
        texture: A texture kind.
        holds_snow: How well snow holds on it, 0 to 1.
        wear: How much its brightness varies from place to place.
    """

    label: int
    texture: str
    holds_snow: float
    wear: float


MATERIALS: Final[dict[str, Material]] = {
    "sky": Material(SKY, "plain", 0.0, 0.0),
    "road": Material(ROAD, "asphalt", 0.82, 0.09),
    "marking": Material(ROAD, "asphalt", 0.82, 0.16),
    "yellow_marking": Material(ROAD, "asphalt", 0.82, 0.16),
    "parking": Material(ROAD, "asphalt", 0.84, 0.09),
    "curb": Material(SIDEWALK, "concrete", 0.60, 0.05),
    "sidewalk": Material(SIDEWALK, "paver", 0.76, 0.09),
    "plaza": Material(SIDEWALK, "paver", 0.80, 0.09),
    "grass": Material(VEGETATION, "grass", 0.90, 0.09),
    "field": Material(VEGETATION, "grass", 0.90, 0.09),
}
"""A material's id is its place; 0 is no ground at all."""

MATERIAL: Final[dict[str, int]] = {name: place for place, name in enumerate(MATERIALS)}


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

    @classmethod
    def meadow(cls, start: float, end: float) -> Profile:
        """Grass from s = start to end, to be laid out."""
        count = int((end - start) / STEP)
        outer = np.full((count, 2), MATERIAL["grass"], np.uint8)
        kind, marking = np.zeros((2, count), np.uint8)
        return cls(start, np.ones((count, 2, 4), np.float32), outer, kind, marking)

    def rows(self, a: float, b: float) -> slice:
        """The steps from s = a to s = b."""
        return slice(int((a - self.start) / STEP), int((b - self.start) / STEP))

    def edges_at(self, s: float, side: int) -> NDArray[np.float32]:
        """(4,) edges on one side (-1, 1), as distances."""
        row = int(np.clip((s - self.start) / STEP, 0, len(self.kind) - 1))
        return np.asarray(self.edges[row, (side + 1) // 2])


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
