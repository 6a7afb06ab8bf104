"""Lamp posts and other poles, and traffic signs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from semla_ros.demo.world.classes import POLE, SIGN
from semla_ros.demo.world.faces import Colour, FaceList, Paint, Point
from semla_ros.demo.world.shapes import disc, jitter, pick, shaded, upright

METALS: Final[tuple[Colour, ...]] = (
    (0.52, 0.54, 0.56),
    (0.30, 0.32, 0.34),
    (0.14, 0.16, 0.15),
    (0.20, 0.32, 0.26),
    (0.68, 0.69, 0.70),
)
RED: Final[Colour] = (0.82, 0.07, 0.09)
BLUE: Final[Colour] = (0.06, 0.22, 0.66)
GREEN: Final[Colour] = (0.03, 0.42, 0.26)
WHITE: Final[Colour] = (0.96, 0.96, 0.95)
YELLOW: Final[Colour] = (0.98, 0.80, 0.08)
INK: Final[Colour] = (0.06, 0.06, 0.07)


def _mast(
    faces: FaceList, x: float, s: float, *, height: float, width: float, colour: Colour
) -> None:
    """A vertical shaft with a lit edge and a thicker foot."""
    paint, edge = Paint(colour), Paint(shaded(colour, 1.25))
    faces.add(upright(x, 0.0, s, width=width, height=height), POLE, paint)
    faces.add(upright(x - width * 0.28, 0.0, s, width=width * 0.3, height=height), POLE, edge)
    faces.add(upright(x, 0.0, s, width=width * 1.6, height=0.7), POLE, paint)


def street_lamp(
    faces: FaceList, x: float, s: float, rng: np.random.Generator, *, towards: int
) -> Point:
    """Adds a lamp post whose arm points towards the road (-1 or +1 in x).

    Returns:
        The position of the light.
    """
    colour = jitter(pick(METALS, rng), rng)
    width = float(rng.uniform(0.2, 0.3))
    lamp: Colour = (1.0, 0.90, 0.66)
    metal = Paint(colour)
    if rng.random() < 0.3:
        height = float(rng.uniform(3.2, 4.2))
        _mast(faces, x, s, height=height, width=width, colour=colour)
        globe = disc(x, height + 0.2, s, radius=0.3, corners=10)
        faces.add(globe, POLE, Paint(lamp, glow=(6.0, 0.0)), key=s - 0.01)
        faces.add(upright(x, height + 0.42, s, width=0.4, height=0.14), POLE, metal, up=0.9)
        return (x, height + 0.2, s)
    height, reach = float(rng.uniform(5.5, 8.5)), towards * float(rng.uniform(1.2, 2.6))
    _mast(faces, x, s, height=height, width=width, colour=colour)
    rise = float(rng.uniform(0.0, 0.6))
    arm: list[Point] = [
        (x, height - 0.25, s),
        (x + reach, height - 0.12 + rise, s),
        (x + reach, height + rise, s),
        (x, height, s),
    ]
    faces.add(arm, POLE, metal)
    head, top = x + reach, height + rise
    light = Paint(lamp, glow=(7.0, 0.0))
    faces.add(upright(head, top - 0.02, s, width=0.95, height=0.2), POLE, metal, up=0.9)
    faces.add(upright(head, top - 0.14, s, width=0.8, height=0.13), POLE, light)
    return (head, top, s)


def plain_pole(faces: FaceList, x: float, s: float, rng: np.random.Generator) -> float:
    """Adds a utility pole, a bollard, a striped post or a signal mast; returns its height."""
    return pick((_utility_pole, _bollard, _striped_post, _signal), rng)(faces, x, s, rng)


def _utility_pole(faces: FaceList, x: float, s: float, rng: np.random.Generator) -> float:
    wood = jitter((0.38, 0.28, 0.20), rng, 0.1)
    height = float(rng.uniform(6.0, 9.0))
    _mast(faces, x, s, height=height, width=0.3, colour=wood)
    for at in (height - 0.5, height - 1.2):
        faces.add(upright(x, at, s, width=2.0, height=0.16), POLE, Paint(wood), up=0.6)
    return height


def _bollard(faces: FaceList, x: float, s: float, rng: np.random.Generator) -> float:
    height = float(rng.uniform(0.9, 1.2))
    metal = Paint(jitter(pick(METALS, rng), rng))
    faces.add(upright(x, 0.0, s, width=0.22, height=height), POLE, metal)
    faces.add(upright(x, height - 0.3, s, width=0.22, height=0.14), POLE, Paint(WHITE))
    return height


def _striped_post(faces: FaceList, x: float, s: float, rng: np.random.Generator) -> float:
    height = float(rng.uniform(2.2, 3.4))
    for k in range(int(height / 0.4)):
        paint = Paint(RED if k % 2 else WHITE)
        faces.add(upright(x, 0.4 * k, s, width=0.2, height=0.4), POLE, paint)
    return height


def _signal(faces: FaceList, x: float, s: float, rng: np.random.Generator) -> float:
    height = float(rng.uniform(3.0, 4.2))
    _mast(faces, x, s, height=height, width=0.22, colour=jitter(pick(METALS[:3], rng), rng))
    faces.add(upright(x, height - 1.0, s, width=0.42, height=1.05), POLE, Paint(INK), up=0.2)
    lit = int(rng.integers(3))
    for k, lamp in enumerate(((0.1, 0.85, 0.35), (1.0, 0.7, 0.1), (0.95, 0.1, 0.08))):
        paint = Paint(lamp, glow=(4.0, 0.0)) if k == lit else Paint(shaded(lamp, 0.3))
        faces.add(disc(x, height - 0.82 + 0.34 * k, s, radius=0.13, corners=8), POLE, paint)
    return height


@dataclass(frozen=True, slots=True)
class _Plate:
    """A piece of a sign's face; lengths are shares of the sign's size.

    Attributes:
        shape: "disc", "triangle" (both `wide` in radius) or "bar".
        colour: Display colour.
        wide: Radius, or the width of a bar.
        up: Height of the centre, of the lower edge of a bar, above that of the sign.
        tall: Height of a bar.
        aside: Offset to the right.
        corners: Of a disc; with 4 it stands on a corner.
    """

    shape: str
    colour: Colour
    wide: float
    up: float = 0.0
    tall: float = 0.0
    aside: float = 0.0
    corners: int = 12

    def outline(self, x: float, y: float, s: float, size: float) -> list[Point]:
        """The corners on a sign centred at (x, y)."""
        x, y, wide = x + self.aside * size, y + self.up * size, self.wide * size
        if self.shape == "bar":
            return upright(x, y, s, width=wide, height=self.tall * size)
        if self.shape == "disc":
            turn = np.pi / 4 if self.corners == 4 else 0.0
            return disc(x, y, s, radius=wide, corners=self.corners, turn=turn)
        low = y - 0.6 * wide
        return [(x, y + wide, s), (x + 0.9 * wide, low, s), (x - 0.9 * wide, low, s)]


SIGNS: Final[dict[str, tuple[_Plate, ...]]] = {
    "limit": (
        _Plate("disc", RED, 1.0),
        _Plate("disc", WHITE, 0.72),
        _Plate("bar", INK, 0.24, up=-0.3, tall=0.6, aside=-0.24),
        _Plate("bar", INK, 0.24, up=-0.3, tall=0.6, aside=0.24),
    ),
    "warning": (
        _Plate("triangle", RED, 1.2),
        _Plate("triangle", WHITE, 0.75),
        _Plate("bar", INK, 0.22, up=-0.3, tall=0.6),
    ),
    "stop": (
        _Plate("disc", WHITE, 1.05, corners=8),
        _Plate("disc", RED, 0.95, corners=8),
        _Plate("bar", WHITE, 1.3, up=-0.2, tall=0.4),
    ),
    "mandatory": (
        _Plate("disc", BLUE, 1.0),
        _Plate("bar", WHITE, 0.3, up=-0.6, tall=1.0),
        _Plate("triangle", WHITE, 0.5, up=0.3),
    ),
    "crossing": (
        _Plate("bar", BLUE, 2.0, up=-1.0, tall=2.0),
        _Plate("triangle", WHITE, 0.8, up=-0.1),
        _Plate("disc", INK, 0.22, corners=6),
    ),
    "priority": (
        _Plate("disc", WHITE, 1.1, corners=4),
        _Plate("disc", YELLOW, 0.85, corners=4),
    ),
    "no_entry": (
        _Plate("disc", RED, 1.0),
        _Plate("bar", WHITE, 1.4, up=-0.18, tall=0.36),
    ),
}
_DRAWN: Final = ("limit", *SIGNS, "board")
"""What stands at a kerb: speed limits twice as often as others."""


def traffic_sign(faces: FaceList, x: float, s: float, rng: np.random.Generator) -> float:
    """Adds a sign on its own post, or a large direction board on two; returns its height."""
    kind, metal = pick(_DRAWN, rng), Paint(jitter(METALS[0], rng))
    if kind == "board":
        return _board(faces, x, s, metal, rng)
    size, height = float(rng.uniform(0.42, 0.62)), float(rng.uniform(2.1, 2.9))
    faces.add(upright(x, 0.0, s, width=0.18, height=height), POLE, metal)
    _sign(faces, kind, x, height + size * 0.7, s, size)
    if rng.random() < 0.2:
        _sign(faces, pick(_DRAWN[:-1], rng), x, height - size * 1.5, s, size * 0.8)
    return height + 2 * size


def _sign(faces: FaceList, kind: str, x: float, y: float, s: float, size: float) -> None:
    for plate in SIGNS[kind]:
        faces.add(plate.outline(x, y, s, size), SIGN, Paint(plate.colour), up=0.1)


def _board(faces: FaceList, x: float, s: float, metal: Paint, rng: np.random.Generator) -> float:
    width, height = float(rng.uniform(1.8, 3.2)), float(rng.uniform(1.0, 1.7))
    low = float(rng.uniform(1.9, 2.6))
    for dx in (-0.35, 0.35):
        faces.add(upright(x + dx * width, 0.0, s, width=0.18, height=low + 0.1), POLE, metal)
    ground = pick((BLUE, GREEN, WHITE, YELLOW), rng)
    ink = Paint(INK if ground in (WHITE, YELLOW) else WHITE)
    faces.add(upright(x, low, s, width=width, height=height), SIGN, ink, up=0.1)
    inner = upright(x, low + 0.06, s, width=width - 0.12, height=height - 0.12)
    faces.add(inner, SIGN, Paint(ground), up=0.1)
    for row in (0.22, 0.6):
        wide = width * float(rng.uniform(0.4, 0.75))
        text = upright(x, low + row * height, s, width=wide, height=height * 0.17)
        faces.add(text, SIGN, ink, up=0.1)
    return low + height
