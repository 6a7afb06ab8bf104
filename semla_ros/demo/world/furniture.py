"""Lamp posts and other poles, and traffic signs."""

from __future__ import annotations

from typing import Final

import numpy as np

from semla_ros.demo.world.classes import POLE, SIGN
from semla_ros.demo.world.faces import Colour, FaceList, Point, disc, jitter, upright

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
SIGN_KINDS: Final[tuple[str, ...]] = (
    "limit",
    "limit",
    "warning",
    "stop",
    "mandatory",
    "crossing",
    "priority",
    "no_entry",
    "board",
)


def _mast(
    faces: FaceList, x: float, s: float, *, height: float, width: float, colour: Colour
) -> None:
    """A vertical shaft with a lit edge and a thicker foot."""
    faces.add(upright(x, 0.0, s, width=width, height=height), POLE, colour=colour)
    bright: Colour = (
        min(colour[0] * 1.25, 1.0),
        min(colour[1] * 1.25, 1.0),
        min(colour[2] * 1.25, 1.0),
    )
    faces.add(
        upright(x - width * 0.28, 0.0, s, width=width * 0.3, height=height), POLE, colour=bright
    )
    faces.add(upright(x, 0.0, s, width=width * 1.6, height=0.7), POLE, colour=colour)


def street_lamp(
    faces: FaceList, x: float, s: float, rng: np.random.Generator, *, towards: int
) -> Point:
    """Adds a lamp post whose arm points towards the road (-1 or +1 in x).

    Returns:
        The position of the light.
    """
    colour = jitter(METALS[int(rng.integers(len(METALS)))], rng)
    width = float(rng.uniform(0.2, 0.3))
    lamp: Colour = (1.0, 0.90, 0.66)
    if rng.random() < 0.3:
        height = float(rng.uniform(3.2, 4.2))
        _mast(faces, x, s, height=height, width=width, colour=colour)
        globe = disc(x, height + 0.2, s, radius=0.3, corners=10)
        faces.add(globe, POLE, colour=lamp, glow=(6.0, 0.0), key=s - 0.01)
        faces.add(
            upright(x, height + 0.42, s, width=0.4, height=0.14), POLE, colour=colour, up=0.9
        )
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
    faces.add(arm, POLE, colour=colour)
    head = x + reach
    faces.add(upright(head, height + rise - 0.02, s, width=0.95, height=0.2), POLE, colour=colour,
              up=0.9)  # fmt: skip
    faces.add(upright(head, height + rise - 0.14, s, width=0.8, height=0.13), POLE, colour=lamp,
              glow=(7.0, 0.0))  # fmt: skip
    return (head, height + rise, s)


def plain_pole(faces: FaceList, x: float, s: float, rng: np.random.Generator) -> float:
    """Adds a utility pole, a bollard, a striped post or a signal mast; returns its height."""
    kind = int(rng.integers(4))
    if kind == 0:
        wood = jitter((0.38, 0.28, 0.20), rng, 0.1)
        height = float(rng.uniform(6.0, 9.0))
        _mast(faces, x, s, height=height, width=0.3, colour=wood)
        for at in (height - 0.5, height - 1.2):
            faces.add(upright(x, at, s, width=2.0, height=0.16), POLE, colour=wood, up=0.6)
        return height
    if kind == 1:
        height = float(rng.uniform(0.9, 1.2))
        colour = jitter(METALS[int(rng.integers(len(METALS)))], rng)
        faces.add(upright(x, 0.0, s, width=0.22, height=height), POLE, colour=colour)
        band = upright(x, height - 0.3, s, width=0.22, height=0.14)
        faces.add(band, POLE, colour=WHITE)
        return height
    if kind == 2:
        height = float(rng.uniform(2.2, 3.4))
        for k in range(int(height / 0.4)):
            paint = RED if k % 2 else WHITE
            faces.add(upright(x, 0.4 * k, s, width=0.2, height=0.4), POLE, colour=paint)
        return height
    height = float(rng.uniform(3.0, 4.2))
    colour = jitter(METALS[int(rng.integers(3))], rng)
    _mast(faces, x, s, height=height, width=0.22, colour=colour)
    faces.add(upright(x, height - 1.0, s, width=0.42, height=1.05), POLE, colour=INK, up=0.2)
    lit = int(rng.integers(3))
    for k, lamp in enumerate(((0.1, 0.85, 0.35), (1.0, 0.7, 0.1), (0.95, 0.1, 0.08))):
        on = 4.0 if k == lit else 0.0
        tone: Colour = lamp if on else (lamp[0] * 0.3, lamp[1] * 0.3, lamp[2] * 0.3)
        face = disc(x, height - 0.82 + 0.34 * k, s, radius=0.13, corners=8)
        faces.add(face, POLE, colour=tone, glow=(on, 0.0))
    return height


def _plate(faces: FaceList, points: list[Point], colour: Colour, *, up: float = 0.1) -> None:
    faces.add(points, SIGN, colour=colour, up=up)


def _glyph(faces: FaceList, x: float, y: float, s: float, size: float, colour: Colour) -> None:
    """Two strokes that read as a number from afar."""
    for dx in (-0.24, 0.24):
        stroke = upright(x + dx * size, y - 0.3 * size, s, width=0.24 * size, height=0.6 * size)
        _plate(faces, list(stroke), colour)


def _triangle(x: float, y: float, s: float, radius: float) -> list[Point]:
    return [(x, y + radius, s), (x + 0.9 * radius, y - 0.6 * radius, s),
            (x - 0.9 * radius, y - 0.6 * radius, s)]  # fmt: skip


def _face(faces: FaceList, kind: str, x: float, y: float, s: float, size: float) -> None:
    """The plate of one sign kind, centred at (x, y)."""
    if kind == "limit":
        _plate(faces, disc(x, y, s, radius=size), RED)
        _plate(faces, disc(x, y, s, radius=size * 0.72), WHITE)
        _glyph(faces, x, y, s, size, INK)
    elif kind == "warning":
        _plate(faces, _triangle(x, y, s, size * 1.2), RED)
        _plate(faces, _triangle(x, y, s, size * 0.75), WHITE)
        _plate(
            faces, list(upright(x, y - size * 0.3, s, width=size * 0.22, height=size * 0.6)), INK
        )
    elif kind == "stop":
        _plate(faces, disc(x, y, s, radius=size * 1.05, corners=8), WHITE)
        _plate(faces, disc(x, y, s, radius=size * 0.95, corners=8), RED)
        bar = upright(x, y - size * 0.2, s, width=size * 1.3, height=size * 0.4)
        _plate(faces, list(bar), WHITE)
    elif kind == "mandatory":
        _plate(faces, disc(x, y, s, radius=size), BLUE)
        _plate(faces, list(upright(x, y - size * 0.6, s, width=size * 0.3, height=size)), WHITE)
        _plate(faces, _triangle(x, y + size * 0.3, s, size * 0.5), WHITE)
    elif kind == "crossing":
        square = upright(x, y - size, s, width=2 * size, height=2 * size)
        _plate(faces, list(square), BLUE)
        _plate(faces, _triangle(x, y - size * 0.1, s, size * 0.8), WHITE)
        _plate(faces, disc(x, y, s, radius=size * 0.22, corners=6), INK)
    elif kind == "priority":
        _plate(faces, disc(x, y, s, radius=size * 1.1, corners=4, turn=np.pi / 4), WHITE)
        _plate(faces, disc(x, y, s, radius=size * 0.85, corners=4, turn=np.pi / 4), YELLOW)
    else:
        _plate(faces, disc(x, y, s, radius=size), RED)
        bar = upright(x, y - size * 0.18, s, width=size * 1.4, height=size * 0.36)
        _plate(faces, list(bar), WHITE)


def traffic_sign(faces: FaceList, x: float, s: float, rng: np.random.Generator) -> float:
    """Adds a sign on its own post, or a large direction board on two; returns its height."""
    kind = SIGN_KINDS[int(rng.integers(len(SIGN_KINDS)))]
    colour = jitter(METALS[0], rng)
    if kind == "board":
        width, height = float(rng.uniform(1.8, 3.2)), float(rng.uniform(1.0, 1.7))
        low = float(rng.uniform(1.9, 2.6))
        for dx in (-0.35, 0.35):
            faces.add(upright(x + dx * width, 0.0, s, width=0.18, height=low + 0.1), POLE,
                      colour=colour)  # fmt: skip
        paint = (BLUE, GREEN, WHITE, YELLOW)[int(rng.integers(4))]
        ink = INK if paint in (WHITE, YELLOW) else WHITE
        _plate(faces, list(upright(x, low, s, width=width, height=height)), ink)
        inner = upright(x, low + 0.06, s, width=width - 0.12, height=height - 0.12)
        _plate(faces, list(inner), paint)
        for row in (0.22, 0.6):
            text = upright(x, low + row * height, s, width=width * float(rng.uniform(0.4, 0.75)),
                           height=height * 0.17)  # fmt: skip
            _plate(faces, list(text), ink)
        return low + height
    size, height = float(rng.uniform(0.42, 0.62)), float(rng.uniform(2.1, 2.9))
    faces.add(upright(x, 0.0, s, width=0.18, height=height), POLE, colour=colour)
    _face(faces, kind, x, height + size * 0.7, s, size)
    if rng.random() < 0.2:
        second = SIGN_KINDS[int(rng.integers(len(SIGN_KINDS) - 1))]
        _face(faces, second, x, height - size * 1.5, s, size * 0.8)
    return height + 2 * size
