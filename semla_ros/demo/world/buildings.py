"""Terraces, houses, towers and walls along the street, and the far skyline."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np

from semla_ros.demo.world.classes import BUILDING
from semla_ros.demo.world.faces import Colour, FaceList, Paint, Point
from semla_ros.demo.world.shapes import across, along, jitter, pick, shaded

MODULE: Final = 8.0
WALLS: Final[dict[str, tuple[Colour, ...]]] = {
    "window_brick": ((0.58, 0.30, 0.22), (0.50, 0.24, 0.18), (0.66, 0.42, 0.30)),
    "window_plaster": (
        (0.85, 0.80, 0.68),
        (0.80, 0.66, 0.50),
        (0.72, 0.74, 0.76),
        (0.82, 0.60, 0.55),
        (0.62, 0.70, 0.66),
        (0.90, 0.88, 0.84),
        (0.80, 0.72, 0.42),
    ),
    "window_office": ((0.55, 0.57, 0.60), (0.72, 0.70, 0.66), (0.38, 0.40, 0.44)),
}
MORTAR: Final[Colour] = (0.6, 0.58, 0.55)
ROOFS: Final[tuple[Colour, ...]] = ((0.48, 0.22, 0.16), (0.30, 0.30, 0.33), (0.40, 0.28, 0.22))
PANES: Final[tuple[Colour, ...]] = ((0.22, 0.28, 0.36), (0.14, 0.17, 0.22), (0.42, 0.52, 0.62))
AWNINGS: Final[tuple[Colour, ...]] = ((0.65, 0.12, 0.12), (0.12, 0.40, 0.25), (0.15, 0.22, 0.50))


@dataclass(frozen=True)
class Plot:
    """Where a building stands: its facade lies at x from s = start to end.

    Attributes:
        x: Facade position.
        side: -1 on the left of the street, +1 on the right.
        start: Near end.
        end: Far end.
        depth: Metres away from the street.
    """

    x: float
    side: int
    start: float
    end: float
    depth: float

    def inside(self, height: float) -> Point:
        """A point inside the building."""
        return (self.x + self.side * self.depth / 2, height / 2, (self.start + self.end) / 2)


def _walls(rng: np.random.Generator, textures: tuple[str, ...]) -> Paint:
    """How the walls of a building look."""
    texture = pick(textures, rng)
    return Paint(
        jitter(pick(WALLS[texture], rng), rng, 0.08),
        jitter(pick(PANES, rng), rng),
        texture,
        scale=64.0 / float(rng.uniform(2.7, 3.6)),
        glow=(0.0, float(rng.uniform(0.25, 0.9))),
    )


def _facade(faces: FaceList, plot: Plot, walls: Paint, low: float, high: float) -> None:
    """Adds the street wall in modules, so that depth sorting works along it."""
    pieces = max(1, round((plot.end - plot.start) / MODULE))
    edges = np.linspace(plot.start, plot.end, pieces + 1).tolist()
    for a, b in itertools.pairwise(edges):
        quad = along(plot.x, low, high, a, b)
        inside, origin = plot.inside(high), (plot.start, low)
        faces.add(quad, BUILDING, walls, inside=inside, origin=origin, key=b)


def _end_wall(faces: FaceList, plot: Plot, walls: Paint, height: float, peak: float) -> None:
    """Adds the wall that looks back along the street, with a gable when there is a peak."""
    far = plot.x + plot.side * plot.depth
    points = across(plot.x, far, 0.0, height, plot.start)
    if peak > height:
        points.insert(3, ((plot.x + far) / 2, peak, plot.start))
    texture = "brick" if walls.texture == "window_brick" else "concrete"
    blank = Paint(shaded(walls.colour, 0.93), MORTAR, texture)
    faces.add(points, BUILDING, blank, inside=plot.inside(height), key=plot.start + 0.05)


def _ground_floor(faces: FaceList, plot: Plot, walls: Paint, rng: np.random.Generator) -> None:
    """Adds shop windows, awnings or a door."""
    x = plot.x - plot.side * 0.02
    middle = plot.inside(3.0)
    cursor = plot.start + 0.4
    shop = bool(rng.random() < 0.45)
    while cursor + 3.0 < plot.end:
        width = float(rng.uniform(2.4, 4.5)) if shop else 1.1
        end = min(cursor + width, plot.end - 0.2)
        top = 2.9 if shop else 2.2
        quad = along(x, 0.0, top, cursor, end)
        frame = jitter((0.25, 0.20, 0.18), rng, 0.3)
        paint = Paint(frame, walls.second, "window_shop" if shop else "plain", 22, (0.0, 1.3))
        faces.add(quad, BUILDING, paint, inside=middle, origin=(cursor, 0.0), key=end)
        if shop and rng.random() < 0.6:
            out = x - plot.side * 1.1
            awning: list[Point] = [(x, 3.1, cursor), (x, 3.1, end), (out, 2.5, end),
                                   (out, 2.5, cursor)]  # fmt: skip
            cloth = Paint(jitter(pick(AWNINGS, rng), rng))
            faces.add(awning, BUILDING, cloth, inside=(x, 0.0, cursor), up=0.8, key=cursor)
        cursor = end + (float(rng.uniform(0.5, 1.5)) if shop else float(rng.uniform(4.0, 9.0)))


def _gable_roof(faces: FaceList, plot: Plot, height: float, peak: float, roof: Colour) -> None:
    """Adds the slope that looks at the street."""
    eave, ridge = plot.x - plot.side * 0.3, plot.x + plot.side * plot.depth / 2
    slope: list[Point] = [(eave, height - 0.1, plot.start), (eave, height - 0.1, plot.end),
                          (ridge, peak, plot.end), (ridge, peak, plot.start)]  # fmt: skip
    tiles, inside = Paint(roof, texture="rooftile", scale=16), (ridge, 0.0, plot.start)
    faces.add(slope, BUILDING, tiles, inside=inside, up=1.0, key=plot.end + 0.02)


def _ledge(faces: FaceList, plot: Plot, at: float, colour: Colour) -> None:
    """Adds a cornice strip along the facade."""
    strip = along(plot.x - plot.side * 0.12, at - 0.35, at, plot.start, plot.end)
    faces.add(strip, BUILDING, Paint(colour), inside=plot.inside(at), up=0.7, key=plot.end)


def house(faces: FaceList, plot: Plot, rng: np.random.Generator) -> float:
    """Adds a small house with a gable roof; returns its height."""
    walls = _walls(rng, ("window_plaster", "window_brick"))
    height = float(rng.uniform(3.2, 6.5))
    peak = height + plot.depth * float(rng.uniform(0.22, 0.45))
    _facade(faces, plot, walls, 0.0, height)
    _end_wall(faces, plot, walls, height, peak)
    _gable_roof(faces, plot, height, peak, jitter(pick(ROOFS, rng), rng))
    _ground_floor(faces, plot, walls, rng)
    return height


def block(faces: FaceList, plot: Plot, rng: np.random.Generator) -> float:
    """Adds a town house with shops or doors; returns its height."""
    walls = _walls(rng, ("window_plaster", "window_brick", "window_plaster", "window_office"))
    floor = 64.0 / walls.scale
    height = 3.3 + floor * int(rng.integers(1, 6)) + 0.4
    base = Paint(jitter(walls.colour, rng, 0.15), walls.second, "concrete")
    _facade(faces, plot, base, 0.0, 3.3)
    _facade(faces, plot, walls, 3.3, height)
    _end_wall(faces, plot, walls, height, height)
    if rng.random() < 0.35:
        peak = height + 2.5
        _gable_roof(faces, plot, height, peak, jitter(pick(ROOFS, rng), rng))
    else:
        _ledge(faces, plot, height + 0.1, jitter((0.75, 0.73, 0.70), rng))
    _ground_floor(faces, plot, walls, rng)
    return height


def tower(faces: FaceList, plot: Plot, rng: np.random.Generator) -> float:
    """Adds a tall office building; returns its height."""
    walls = _walls(rng, ("window_office", "window_plaster"))
    height = 64.0 / walls.scale * int(rng.integers(6, 12))
    _facade(faces, plot, walls, 0.0, height)
    far = plot.x + plot.side * plot.depth
    end, inside = across(plot.x, far, 0.0, height, plot.start), plot.inside(height)
    origin = (plot.x, 0.0)
    faces.add(end, BUILDING, walls, inside=inside, origin=origin, key=plot.start + 0.05)
    return height


def wall(faces: FaceList, plot: Plot, rng: np.random.Generator) -> float:
    """Adds a windowless hall or garden wall; returns its height."""
    height = float(rng.uniform(1.8, 5.5))
    texture = "brick" if rng.random() < 0.5 else "concrete"
    paints = WALLS["window_brick"] if texture == "brick" else WALLS["window_office"]
    walls = Paint(jitter(pick(paints, rng), rng), MORTAR, texture)
    _facade(faces, plot, walls, 0.0, height)
    _end_wall(faces, plot, walls, height, height)
    _ledge(faces, plot, height, jitter((0.5, 0.48, 0.46), rng))
    return height


def skyline(faces: FaceList, s: float, rng: np.random.Generator, *, span: float) -> None:
    """Adds a far row of buildings that closes the horizon."""
    x = -span
    while x < span:
        width = float(rng.uniform(9.0, 24.0))
        height = float(rng.uniform(5.0, 26.0))
        walls = _walls(rng, ("window_office", "window_plaster", "window_brick"))
        quad = across(x, x + width, 0.0, height, s)
        faces.add(quad, BUILDING, walls, origin=(x, 0.0), key=s)
        x += width + (float(rng.uniform(2.0, 30.0)) if rng.random() < 0.4 else 0.0)
