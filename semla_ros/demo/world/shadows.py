"""Shadows that the sun throws on the ground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from semla_ros.demo.world.faces import BLACK, FaceList, Paint

SUN_SHADOW: Final = 1
CONTACT_SHADOW: Final = 2
_LONGEST: Final = 14.0


@dataclass(frozen=True)
class Sun:
    """Direction to the sun.

    Attributes:
        azimuth: Radians from +s towards +x.
        height: Elevation in radians.
    """

    azimuth: float
    height: float

    def towards(self) -> tuple[float, float, float]:
        """Unit vector (x, y, s) to the sun."""
        flat = float(np.cos(self.height))
        return (
            flat * float(np.sin(self.azimuth)),
            float(np.sin(self.height)),
            flat * float(np.cos(self.azimuth)),
        )

    def cast(self, height: float) -> tuple[float, float]:
        """Offset (x, s) of the shadow of a point at this height."""
        reach = min(height / float(np.tan(self.height)), _LONGEST)
        return -reach * float(np.sin(self.azimuth)), -reach * float(np.cos(self.azimuth))


class Shadows(FaceList):
    """Collects the ground polygons that one sun's shadows are made of."""

    def __init__(self, sun: Sun) -> None:
        super().__init__()
        self.sun = sun

    def wall(self, x: float, start: float, end: float, height: float) -> None:
        """Adds the shadow of a wall along the street."""
        dx, ds = self.sun.cast(height)
        self._add([(x, start), (x, end), (x + dx, end + ds), (x + dx, start + ds)])

    def post(self, x: float, s: float, height: float, *, width: float = 0.3) -> None:
        """Adds the shadow of something upright and thin."""
        dx, ds, nx, ns = self._across(height, width)
        ends = ((-1, 0), (1, 0), (1, 1), (-1, 1))
        self._add([(x + nx * a + dx * b, s + ns * a + ds * b) for a, b in ends])

    def tree(self, x: float, s: float, height: float, *, width: float) -> None:
        """Adds the shadow of a trunk and, if it is wider than a metre, of a crown."""
        if width <= 1.0:
            self.post(x, s, height, width=width)
            return
        self.post(x, s, height * 0.5, width=0.35)
        dx, ds, nx, ns = self._across(height, width)
        angles = 2 * np.pi * np.arange(10) / 10
        across, along = np.cos(angles).tolist(), (0.7 + 0.3 * np.sin(angles)).tolist()
        pairs = zip(across, along, strict=True)
        self._add([(x + dx * b + nx * a, s + ds * b + ns * a) for a, b in pairs])

    def box(self, centre: tuple[float, float], half: tuple[float, float], height: float) -> None:
        """Adds sun shadow and contact shadow of a box at (x, s) with half extents (x, s)."""
        (x, s), (hx, hs) = centre, half
        dx, ds = self.sun.cast(height)
        for label, mx, ms, px, ps in (
            (SUN_SHADOW, x + dx / 2, s + ds / 2, hx + abs(dx) / 2, hs + abs(ds) / 2),
            (CONTACT_SHADOW, x, s, hx * 1.04, hs * 1.02),
        ):
            ends = ((-1, -1), (1, -1), (1, 1), (-1, 1))
            self._add([(mx + px * a, ms + ps * b) for a, b in ends], label)

    def _across(self, height: float, width: float) -> tuple[float, float, float, float]:
        """Offset (x, s) of the shadow of the top, and half the width across it."""
        dx, ds = self.sun.cast(height)
        reach = float(np.hypot(dx, ds)) + 1e-6
        return dx, ds, -ds / reach * width / 2, dx / reach * width / 2

    def _add(self, corners: Sequence[tuple[float, float]], label: int = SUN_SHADOW) -> None:
        x, s = corners[0]
        self.add([(x, 0.0, s) for x, s in corners], label, Paint(BLACK), inside=(x, -1.0, s))
