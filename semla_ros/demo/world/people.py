"""Walking persons with limbs, drawn as camera-facing cut-outs in several phases of the step."""

from __future__ import annotations

from typing import Final

import numpy as np

from semla_ros.demo.world.classes import PERSON
from semla_ros.demo.world.faces import Colour, FaceList, Faces, Paint, Point
from semla_ros.demo.world.shapes import disc, jitter, pick, upright

PHASES: Final = 8
SKINS: Final[tuple[Colour, ...]] = ((0.93, 0.75, 0.62), (0.75, 0.54, 0.40), (0.42, 0.28, 0.20))
TOPS: Final[tuple[Colour, ...]] = (
    (0.80, 0.15, 0.15),
    (0.12, 0.25, 0.60),
    (0.90, 0.80, 0.20),
    (0.15, 0.15, 0.18),
    (0.90, 0.90, 0.88),
    (0.90, 0.45, 0.12),
    (0.45, 0.25, 0.55),
    (0.20, 0.50, 0.48),
)
BOTTOMS: Final[tuple[Colour, ...]] = (
    (0.12, 0.14, 0.26),
    (0.10, 0.10, 0.10),
    (0.35, 0.28, 0.20),
    (0.55, 0.55, 0.58),
)


def _limb(start: tuple[float, float], angle: float, length: float, width: float) -> list[Point]:
    """A tapered limb hanging from start, turned from the vertical by angle."""
    x, y = start
    ax, ay = float(np.sin(angle)), -float(np.cos(angle))
    nx, ny = -ay * width / 2, ax * width / 2
    ex, ey = x + ax * length, y + ay * length
    return [
        (x - nx, y - ny, 0.0),
        (x + nx, y + ny, 0.0),
        (ex + nx * 0.75, ey + ny * 0.75, 0.0),
        (ex - nx * 0.75, ey - ny * 0.75, 0.0),
    ]


def _figure(
    phase: float, size: float, stride: float, colours: tuple[Colour, ...], *, bag: bool, long: bool
) -> Faces:
    """One phase of the step of one person."""
    skin, hair, top, bottom, shoe = colours
    faces = FaceList()
    swing = stride * float(np.sin(phase))
    hip, shoulder, wide = 0.50 * size, 0.81 * size, 0.15 * size

    def add(points: list[Point], colour: Colour, up: float = 0.05) -> None:
        faces.add(points, PERSON, Paint(colour), up=up)

    add(_limb((wide * 0.75, shoulder), -swing * 0.9, 0.33 * size, 0.075 * size), top)
    for side, turn in ((1.0, swing), (-1.0, -swing)):
        start = (side * wide * 0.36, hip)
        add(_limb(start, turn, 0.48 * size, 0.115 * size), bottom)
        foot_x = start[0] + float(np.sin(turn)) * 0.48 * size
        foot_y = hip - float(np.cos(turn)) * 0.48 * size
        add([(foot_x - 0.07 * size, foot_y - 0.02 * size, 0.0),
             (foot_x + 0.08 * size, foot_y - 0.02 * size, 0.0),
             (foot_x + 0.04 * size, foot_y + 0.04 * size, 0.0),
             (foot_x - 0.06 * size, foot_y + 0.04 * size, 0.0)], shoe)  # fmt: skip
    hem = hip - (0.16 * size if long else 0.03 * size)
    add([(-wide * 0.8, hem, 0.0), (wide * 0.8, hem, 0.0), (wide * 0.95, shoulder, 0.0),
         (wide * 0.5, 0.845 * size, 0.0), (-wide * 0.5, 0.845 * size, 0.0),
         (-wide * 0.95, shoulder, 0.0)], top)  # fmt: skip
    if bag:
        add(upright(wide * 0.9, hip, 0.0, width=0.13 * size, height=0.2 * size), shoe)
    add(_limb((-wide * 0.8, shoulder), swing * 0.9, 0.34 * size, 0.075 * size), top)
    hand_x = -wide * 0.8 + float(np.sin(swing * 0.9)) * 0.36 * size
    hand_y = shoulder - float(np.cos(swing * 0.9)) * 0.36 * size
    add(disc(hand_x, hand_y, 0.0, radius=0.032 * size, corners=6), skin)
    add(upright(0.0, 0.83 * size, 0.0, width=0.055 * size, height=0.06 * size), skin)
    add(disc(0.0, 0.935 * size, 0.0, radius=0.075 * size, corners=10), hair, 0.5)
    add(disc(0.012 * size, 0.918 * size, 0.0, radius=0.058 * size, corners=10), skin)
    return faces.build()


def person(rng: np.random.Generator) -> tuple[Faces, ...]:
    """A random person at the origin, feet on the ground, in PHASES phases of a step."""
    size = float(rng.normal(1.75, 0.1)) * (0.68 if rng.random() < 0.12 else 1.0)
    stride = float(rng.uniform(0.28, 0.5)) if rng.random() < 0.8 else 0.06
    colours = (
        jitter(pick(SKINS, rng), rng),
        jitter((0.20, 0.14, 0.08) if rng.random() < 0.7 else (0.55, 0.42, 0.22), rng),
        jitter(pick(TOPS, rng), rng),
        jitter(pick(BOTTOMS, rng), rng),
        jitter((0.10, 0.09, 0.09), rng),
    )
    bag, long = bool(rng.random() < 0.3), bool(rng.random() < 0.3)
    return tuple(
        _figure(2 * np.pi * k / PHASES, size, stride, colours, bag=bag, long=long)
        for k in range(PHASES)
    )
