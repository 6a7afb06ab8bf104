"""Outlines and colours that the world's objects are drawn with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from semla_ros.demo.world.faces import Colour, Point

_T = TypeVar("_T")


def along(x: float, low: float, high: float, start: float, end: float) -> list[Point]:
    """An upright rectangle along the street at x, from s = start to end."""
    return [(x, low, start), (x, low, end), (x, high, end), (x, high, start)]


def across(x0: float, x1: float, low: float, high: float, s: float) -> list[Point]:
    """A camera-facing rectangle at s, from x0 to x1."""
    return [(x0, low, s), (x1, low, s), (x1, high, s), (x0, high, s)]


def upright(x: float, y: float, s: float, *, width: float, height: float) -> list[Point]:
    """A camera-facing rectangle with its lower edge centred at (x, y, s)."""
    return across(x - width / 2, x + width / 2, y, y + height, s)


def disc(
    x: float, y: float, s: float, *, radius: float, corners: int = 12, turn: float = 0.0
) -> list[Point]:
    """A camera-facing regular polygon centred at (x, y, s)."""
    angles = 2 * np.pi * (np.arange(corners) + 0.5) / corners + turn
    return [(x + radius * float(np.sin(a)), y - radius * float(np.cos(a)), s) for a in angles]


def pick(options: Sequence[_T], rng: np.random.Generator) -> _T:
    """One of the options, all alike likely."""
    return options[int(rng.integers(len(options)))]


def shaded(colour: Colour, factor: float) -> Colour:
    """A colour made darker or, up to full brightness, lighter."""
    r, g, b = (min(part * factor, 1.0) for part in colour)
    return (r, g, b)


def jitter(colour: Colour, rng: np.random.Generator, amount: float = 0.06) -> Colour:
    """A colour varied in brightness and tint, kept inside 0.01..1."""
    value = np.asarray(colour) * (1 + rng.normal(0, amount)) + rng.normal(0, amount / 3, 3)
    r, g, b = np.clip(value, 0.01, 1.0).tolist()
    return (r, g, b)
