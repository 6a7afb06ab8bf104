"""What stands along a kerb: lamps, poles, signs, street trees and parked cars."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semla_ros.demo.world import furniture, plants
from semla_ros.demo.world.faces import FaceList, Faces, Point
from semla_ros.demo.world.shadows import Shadows
from semla_ros.demo.world.vehicles import car, footprint


@dataclass(frozen=True)
class Kerb:
    """One side of a stretch of street.

    Attributes:
        side: -1 left, +1 right.
        road: Distance of the end of the driving lanes from the centre line.
        parking: Distance of the end of the parking lane.
        verge: Distance of the end of the planted strip.
        walk: Distance of the end of the sidewalk.
    """

    side: int
    road: float
    parking: float
    verge: float
    walk: float


def _parked(
    shadows: Shadows, kerb: Kerb, span: tuple[float, float], rng: np.random.Generator
) -> list[Faces]:
    """Parks cars in the parking lane, or now and then at the edge of the road."""
    lane = kerb.parking - kerb.road
    chance = 0.75 if lane > 1.0 else float(rng.choice((0.0, 0.0, 0.25)))
    cars: list[Faces] = []
    cursor = span[0] + float(rng.uniform(0.5, 5.0))
    while cursor + 6.0 < span[1]:
        if rng.random() >= chance:
            cursor += float(rng.uniform(4.0, 9.0))
            continue
        vehicle = car(rng, parked=True)
        half_wide, half_long = footprint(vehicle)
        x = kerb.side * (kerb.parking - half_wide - 0.15)
        turned = 2 if (kerb.side < 0) != (rng.random() < 0.15) else 0
        s = cursor + half_long
        cars.append(vehicle.placed(x, s, quarter_turns=turned))
        shadows.box((x, s), (half_wide, half_long), 1.3)
        cursor = s + half_long + float(rng.uniform(0.6, 4.0))
    return cars


def _lamps(
    faces: FaceList,
    shadows: Shadows,
    kerb: Kerb,
    span: tuple[float, float],
    rng: np.random.Generator,
) -> list[Point]:
    """Puts up lamp posts at even distances, or none; returns the positions of the lights."""
    lamps: list[Point] = []
    edge = kerb.side * (kerb.parking + 0.55)
    spacing = float(rng.uniform(14.0, 30.0))
    if rng.random() < 0.75:
        at = span[0] + float(rng.uniform(0.0, spacing))
        while at < span[1]:
            lamps.append(furniture.street_lamp(faces, edge, at, rng, towards=-kerb.side))
            shadows.post(edge, at, lamps[-1][1])
            at += spacing
    return lamps


def furnish(
    faces: FaceList,
    shadows: Shadows,
    kerb: Kerb,
    span: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[list[Faces], list[Point]]:
    """Furnishes one side of a stretch of street.

    Args:
        faces: Receives poles, signs and street trees.
        shadows: Receives their shadows.
        kerb: The side.
        span: From s to s.
        rng: Source of the variation.

    Returns:
        The parked cars and the street lights.
    """
    lamps = _lamps(faces, shadows, kerb, span, rng)
    for build, spacing, reach in (
        (furniture.plain_pole, 22.0, 1.4),
        (furniture.traffic_sign, 18.0, 2.2),
    ):
        for _ in range(int(rng.poisson((span[1] - span[0]) / spacing))):
            at = float(rng.uniform(*span))
            x = kerb.side * (kerb.parking + float(rng.uniform(0.45, reach)))
            shadows.post(x, at, build(faces, x, at, rng))
    if rng.random() < 0.35 and kerb.walk - kerb.parking > 2.0:
        at = span[0] + float(rng.uniform(2.0, 8.0))
        while at < span[1]:
            x = kerb.side * (kerb.parking + 0.9)
            height, wide = plants.tree(faces, x, at, rng)
            shadows.tree(x, at, height, width=2 * wide)
            at += float(rng.uniform(7.0, 14.0))
    return _parked(shadows, kerb, span, rng), lamps
