"""Trees, conifers, bushes and hedges."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np

from semla_ros.demo.world.classes import VEGETATION
from semla_ros.demo.world.faces import Colour, FaceList, Paint, Point
from semla_ros.demo.world.shapes import across, along, jitter, pick, shaded

GREENS: Final[tuple[Colour, ...]] = (
    (0.22, 0.42, 0.14),
    (0.32, 0.48, 0.16),
    (0.16, 0.35, 0.16),
    (0.42, 0.52, 0.20),
    (0.30, 0.40, 0.22),
)
AUTUMN: Final[tuple[Colour, ...]] = ((0.66, 0.42, 0.10), (0.58, 0.25, 0.10))
BARK: Final = Paint((0.32, 0.24, 0.17), texture="bark", scale=40)


def _leaf_colour(rng: np.random.Generator) -> Colour:
    """Mostly green, sometimes an autumn tone."""
    tones = AUTUMN if rng.random() < 0.1 else GREENS
    return jitter(pick(tones, rng), rng, 0.12)


def _leaves(colour: Colour, scale: float = 26.0) -> Paint:
    return Paint(colour, texture="foliage", scale=scale)


def _blob(
    faces: FaceList,
    centre: Point,
    size: tuple[float, float],
    *,
    colour: Colour,
    up: float,
    key: float,
    rng: np.random.Generator,
) -> None:
    """An irregular leafy outline."""
    angles = 2 * np.pi * np.arange(12) / 12 + rng.uniform(0, 0.5)
    radius = rng.uniform(0.78, 1.12, 12)
    points: list[Point] = [
        (
            centre[0] + size[0] * float(r * np.cos(a)),
            max(centre[1] + size[1] * float(r * np.sin(a)), 0.0),
            centre[2],
        )
        for a, r in zip(angles, radius, strict=True)
    ]
    origin = (float(rng.uniform(0, 3)), float(rng.uniform(0, 3)))
    faces.add(points, VEGETATION, _leaves(colour), origin=origin, up=up, key=key)


def _trunk(faces: FaceList, x: float, s: float, *, height: float, radius: float) -> None:
    points: list[Point] = [
        (x - radius * 1.25, 0.0, s),
        (x + radius * 1.25, 0.0, s),
        (x + radius * 0.8, height, s),
        (x - radius * 0.8, height, s),
    ]
    faces.add(points, VEGETATION, BARK, key=s + 0.01)


def tree(faces: FaceList, x: float, s: float, rng: np.random.Generator) -> tuple[float, float]:
    """Adds a random tree at (x, s).

    Returns:
        Height and crown radius in metres, for the shadow.
    """
    colour = _leaf_colour(rng)
    if rng.random() < 0.22:
        return _conifer(faces, x, s, rng)
    slim = 0.5 if rng.random() < 0.2 else 1.0
    height = float(rng.uniform(4.5, 11.0))
    stem = height * float(rng.uniform(0.22, 0.42)) * slim
    crown = (height - stem) / 2
    wide = crown * float(rng.uniform(0.75, 1.15)) * slim
    _trunk(faces, x, s, height=stem + crown, radius=0.10 + 0.018 * height)
    count = int(rng.integers(7, 12))
    for k in range(count):
        level = (k + 0.5) / count
        angle = float(rng.uniform(0, 2 * np.pi))
        spread = wide * 0.62 * float(np.sin(np.pi * (0.15 + 0.75 * level)))
        centre = (
            x + spread * float(np.cos(angle)),
            stem + crown * (0.35 + 1.35 * level),
            s + 0.3 * float(np.sin(angle)),
        )
        size = wide * float(rng.uniform(0.42, 0.62)), crown * float(rng.uniform(0.34, 0.46))
        tone = shaded(colour, 0.78 + 0.34 * level + float(rng.normal(0, 0.05)))
        _blob(faces, centre, size, colour=tone, up=0.42 + 0.55 * level, key=s, rng=rng)
    return height, wide


def _conifer(faces: FaceList, x: float, s: float, rng: np.random.Generator) -> tuple[float, float]:
    """Adds a fir of stacked triangles; returns height and radius."""
    height, layers = float(rng.uniform(5.0, 12.0)), int(rng.integers(4, 6))
    colour = jitter((0.13, 0.28, 0.17), rng, 0.12)
    wide = height * float(rng.uniform(0.17, 0.26))
    _trunk(faces, x, s, height=height * 0.3, radius=0.16)
    for k in range(layers):
        low = height * (0.12 + 0.72 * k / layers)
        top = min(low + height * 0.42, height)
        half = wide * (1.0 - 0.8 * k / layers)
        teeth = np.linspace(-half, half, 7)
        drop = rng.uniform(-0.08, 0.08, 7) * height * 0.4
        points: list[Point] = [
            (x + float(t), low + float(d), s) for t, d in zip(teeth, drop, strict=True)
        ]
        points.append((x, top, s))
        paint = _leaves(shaded(colour, 0.85 + 0.1 * k), scale=30)
        faces.add(points, VEGETATION, paint, up=0.6, key=s)
    return height, wide


def bush(faces: FaceList, x: float, s: float, rng: np.random.Generator) -> None:
    """Adds a bush of a few blobs at (x, s)."""
    colour, size = _leaf_colour(rng), float(rng.uniform(0.5, 1.3))
    for k in range(int(rng.integers(3, 6))):
        level = 0.35 + 0.25 * (k % 3)
        centre = (x + float(rng.uniform(-0.6, 0.6)) * size, size * level, s)
        extent = (size * float(rng.uniform(0.45, 0.7)), size * float(rng.uniform(0.35, 0.55)))
        tone = shaded(colour, 0.75 + 0.4 * level)
        _blob(faces, centre, extent, colour=tone, up=0.45 + 0.5 * level, key=s, rng=rng)


def hedge(
    faces: FaceList, x: float, span: tuple[float, float], rng: np.random.Generator, *, depth: float
) -> None:
    """Adds a clipped hedge along the street; depth is signed, away from the road."""
    height, colour = float(rng.uniform(0.8, 2.4)), _leaf_colour(rng)
    start, end = span
    middle: Point = (x + depth / 2, height / 2, (start + end) / 2)
    pieces = max(1, round((end - start) / 6.0))
    edges = np.linspace(start, end, pieces + 1)
    for a, b in pairwise(edges.tolist()):
        side = along(x, 0.0, height, a, b)
        faces.add(side, VEGETATION, _leaves(colour), inside=middle, up=0.5, key=b)
        top: list[Point] = [(x, height, a), (x, height, b), (x + depth, height, b),
                            (x + depth, height, a)]  # fmt: skip
        paint = _leaves(shaded(colour, 1.2))
        faces.add(top, VEGETATION, paint, inside=middle, up=1.0, key=b)
    front = across(x, x + depth, 0.0, height, start)
    paint = _leaves(shaded(colour, 0.9))
    faces.add(front, VEGETATION, paint, inside=middle, up=0.5, key=start)


def treeline(faces: FaceList, s: float, rng: np.random.Generator, *, span: float) -> None:
    """Adds a far row of tree tops that closes the horizon."""
    colour = shaded(_leaf_colour(rng), 0.85)
    for x in np.arange(-span, span, span / 10).tolist():
        size = (span / 9, float(rng.uniform(4.0, 11.0)))
        shift = float(rng.normal(0, span / 40))
        _blob(faces, (x + shift, size[1] * 0.5, s), size, colour=colour, up=0.5, key=s, rng=rng)
