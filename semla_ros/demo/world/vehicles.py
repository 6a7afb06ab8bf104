"""Cars, vans and buses: an extruded side silhouette with glass, wheels and lights."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np

from semla_ros.demo.world.classes import CAR
from semla_ros.demo.world.faces import Colour, FaceList, Faces, Paint, Point
from semla_ros.demo.world.shapes import across, disc, jitter, pick, upright

PAINTS: Final[tuple[Colour, ...]] = (
    (0.80, 0.80, 0.82),
    (0.93, 0.93, 0.93),
    (0.10, 0.10, 0.12),
    (0.35, 0.36, 0.38),
    (0.70, 0.08, 0.08),
    (0.10, 0.20, 0.58),
    (0.10, 0.40, 0.62),
    (0.82, 0.68, 0.10),
    (0.12, 0.34, 0.22),
    (0.55, 0.22, 0.10),
)
GLASS: Final = Paint((0.16, 0.20, 0.25))
TYRE: Final[Colour] = (0.07, 0.07, 0.08)


@dataclass(frozen=True)
class Body:
    """A side silhouette: (length position from the rear, height) points and what lies between.

    Attributes:
        length: Metres.
        width: Metres.
        outline: Points from the lower rear corner over the roof to the lower front corner.
        glass: Positions of outline edges that are windows.
        belt: Height at which the cabin starts.
        windows: Side windows as (rear, front, lower, upper) rectangles.
        wheel: Wheel radius.
    """

    length: float
    width: float
    outline: tuple[tuple[float, float], ...]
    glass: tuple[int, ...]
    belt: float
    windows: tuple[tuple[float, float, float, float], ...]
    wheel: float


BODIES: Final[tuple[Body, ...]] = (
    Body(
        4.5,
        1.85,
        ((0, 0.3), (0, 0.95), (0.75, 1.02), (1.3, 1.46), (2.7, 1.46), (3.3, 1.0), (4.5, 0.8)),
        (2, 4),
        1.01,
        ((1.25, 1.95, 1.03, 1.38), (2.03, 2.85, 1.03, 1.38)),
        0.33,
    ),
    Body(
        4.0,
        1.8,
        ((0, 0.3), (0, 0.95), (0.4, 1.5), (2.3, 1.53), (3.0, 1.02), (4.0, 0.85)),
        (1, 3),
        1.0,
        ((0.5, 1.4, 1.05, 1.44), (1.5, 2.5, 1.05, 1.44)),
        0.32,
    ),
    Body(
        4.7,
        1.95,
        ((0, 0.4), (0, 1.1), (0.35, 1.75), (2.9, 1.78), (3.5, 1.18), (4.7, 1.05)),
        (1, 3),
        1.15,
        ((0.5, 1.7, 1.2, 1.66), (1.8, 3.0, 1.2, 1.66)),
        0.38,
    ),
    Body(
        5.4,
        2.05,
        ((0, 0.35), (0, 1.2), (0.05, 2.35), (4.1, 2.4), (4.9, 1.3), (5.4, 1.1)),
        (1, 3),
        1.2,
        ((3.2, 4.2, 1.35, 2.0),),
        0.36,
    ),
    Body(
        10.5,
        2.5,
        ((0, 0.35), (0, 1.3), (0.0, 3.0), (10.4, 3.05), (10.5, 1.2)),
        (1, 3),
        1.25,
        tuple((0.4 + 1.7 * k, 1.9 + 1.7 * k, 1.35, 2.4) for k in range(6)),
        0.48,
    ),
)


def _half_width(body: Body, height: float) -> float:
    """Half the width at a height: the cabin leans inwards."""
    if height <= body.belt:
        return body.width / 2
    return body.width / 2 - 0.2 * (height - body.belt)


def _hull(faces: FaceList, body: Body, paint: Paint) -> None:
    """Adds roof, hood, front, rear and their glass."""
    middle: Point = (0.0, 0.7, 0.0)
    outline = (*body.outline, (body.length, body.outline[0][1]))
    for k, ((l0, h0), (l1, h1)) in enumerate(itertools.pairwise(outline)):
        w0, w1 = _half_width(body, h0), _half_width(body, h1)
        s0, s1 = l0 - body.length / 2, l1 - body.length / 2
        quad: list[Point] = [(-w0, h0, s0), (w0, h0, s0), (w1, h1, s1), (-w1, h1, s1)]
        flat = abs(l1 - l0) > 2.5 * abs(h1 - h0)
        faces.add(quad, CAR, paint, inside=middle, up=0.9 if flat else 0.1)
        if k in body.glass:
            y0, y1 = h0 * 0.92 + h1 * 0.08, h1 * 0.92 + h0 * 0.08
            z0, z1 = s0 * 0.92 + s1 * 0.08, s1 * 0.92 + s0 * 0.08
            x0, x1 = w0 * 0.86, w1 * 0.86
            inner: list[Point] = [(-x0, y0, z0), (x0, y0, z0), (x1, y1, z1), (-x1, y1, z1)]
            faces.add(inner, CAR, GLASS, inside=middle, up=0.15)


def _flank(faces: FaceList, body: Body, paint: Paint, side: int) -> None:
    """Adds one side: lower body, cabin, windows, wheels."""
    middle: Point = (0.0, 0.7, 0.0)
    half, base = body.length / 2, body.outline[0][1]
    low = [(length, min(h, body.belt)) for length, h in (*body.outline, (body.length, base))]
    lower: list[Point] = [(side * body.width / 2, h, length - half) for length, h in low]
    faces.add(lower, CAR, paint, inside=middle)
    high = [(length, h) for length, h in body.outline if h >= body.belt - 0.12]
    if len(high) > 2:
        cabin: list[Point] = [(side * _half_width(body, h), h, ln - half) for ln, h in high]
        faces.add(cabin, CAR, paint, inside=middle)
    for rear, front, bottom, top in body.windows:
        w0, w1 = side * _half_width(body, bottom), side * _half_width(body, top)
        slant = min(0.25, (front - rear) / 4)
        pane: list[Point] = [
            (w0, bottom, rear - half),
            (w0, bottom, front - half),
            (w1, top, front - half - slant),
            (w1, top, rear - half + slant * 0.3),
        ]
        faces.add(pane, CAR, GLASS, inside=middle)
    x = side * (body.width / 2 + 0.01)
    for axle in (0.19 * body.length, 0.81 * body.length):
        for radius, colour in ((body.wheel, TYRE), (body.wheel * 0.55, (0.5, 0.5, 0.52))):
            ring = disc(axle - half, body.wheel, 0.0, radius=radius)
            faces.add([(x, y, s) for s, y, _ in ring], CAR, Paint(colour), inside=middle)


def _ends(faces: FaceList, body: Body) -> None:
    """Adds tail lights, head lights, plates, bumpers and the grille."""
    middle: Point = (0.0, 0.7, 0.0)
    half, wide = body.length / 2 + 0.015, body.width / 2
    rear_top, front_top = body.outline[1][1], body.outline[-1][1]

    def panel(x: float, y: float, s: float, w: float, h: float, c: Colour, glow: float) -> None:
        quad = upright(x, y, s, width=w, height=h)
        faces.add(quad, CAR, Paint(c, glow=(glow, 0.0)), inside=middle)

    base = body.outline[0][1]
    for end in (-half, half):
        panel(0, base - 0.02, end, 2 * wide * 0.96, 0.2, (0.12, 0.12, 0.13), 0.0)
        panel(0, base + 0.22, end, 0.52, 0.13, (0.92, 0.92, 0.85), 0.0)
    panel(0, front_top - 0.2, half, wide, 0.13, (0.06, 0.06, 0.07), 0.0)
    for side in (-1, 1):
        panel(side * (wide - 0.2), rear_top - 0.26, -half, 0.34, 0.22, (0.85, 0.06, 0.05), 1.6)
        panel(side * (wide - 0.26), front_top - 0.22, half, 0.42, 0.18, (1.0, 0.97, 0.86), 5.0)


def car(rng: np.random.Generator, *, parked: bool) -> Faces:
    """A random vehicle centred at the origin and heading towards +s.

    Args:
        rng: Source of the variation.
        parked: A parked car has its lights off.

    Returns:
        About 40 faces.
    """
    body = BODIES[int(rng.choice(len(BODIES), p=(0.34, 0.26, 0.22, 0.12, 0.06)))]
    paint = Paint(jitter(pick(PAINTS, rng), rng))
    faces = FaceList()
    wide, half = body.width / 2 - 0.1, body.length / 2 - 0.1
    for end in (-half, half):
        shade = across(-wide, wide, 0.12, 0.5, end)
        faces.add(shade, CAR, Paint((0.04, 0.04, 0.04)), inside=(0.0, 0.3, 0.0))
    for side in (-1, 1):
        _flank(faces, body, paint, side)
    _hull(faces, body, paint)
    _ends(faces, body)
    built = faces.build()
    if parked:
        built.glow[:] = 0.0
    return built


def footprint(vehicle: Faces) -> tuple[float, float]:
    """Half the width and half the length of an unplaced vehicle, metres."""
    return float(vehicle.verts[..., 0].max()), float(vehicle.verts[..., 2].max())
