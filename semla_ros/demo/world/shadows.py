"""Shadows that the sun throws on the ground."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from semla_ros.demo.world.faces import BLACK, FaceList, Point

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


def shadow_quad(
    shadows: FaceList,
    foot: tuple[tuple[float, float], ...],
    height: float,
    sun: Sun,
    *,
    width: float = 0.3,
) -> None:
    """Adds the sun shadow of something upright.

    Args:
        shadows: Receives the polygon.
        foot: One (x, s) point of a thing of the given width, or the two ends of a wall.
        height: Metres.
        sun: The sun.
        width: Width of a one-point thing.
    """
    dx, ds = sun.cast(height)
    if len(foot) == 1:
        (x, s), reach = foot[0], float(np.hypot(dx, ds)) + 1e-6
        nx, ns = -ds / reach * width / 2, dx / reach * width / 2
        corners: list[Point]
        if width > 1.0:
            angles = 2 * np.pi * np.arange(10) / 10
            across, along = np.cos(angles).tolist(), (0.7 + 0.3 * np.sin(angles)).tolist()
            corners = [
                (x + dx * b + nx * a, 0.0, s + ds * b + ns * a)
                for a, b in zip(across, along, strict=True)
            ]
            shadow_quad(shadows, foot, height * 0.5, sun, width=0.35)
        else:
            ends = ((-1, 0), (1, 0), (1, 1), (-1, 1))
            corners = [(x + nx * a + dx * b, 0.0, s + ns * a + ds * b) for a, b in ends]
    else:
        (x0, s0), (x1, s1) = foot
        corners = [(x0, 0.0, s0), (x1, 0.0, s1), (x1 + dx, 0.0, s1 + ds), (x0 + dx, 0.0, s0 + ds)]
    shadows.add(corners, SUN_SHADOW, colour=BLACK, inside=(corners[0][0], -1.0, corners[0][2]))


def shadow_box(
    shadows: FaceList,
    centre: tuple[float, float],
    half: tuple[float, float],
    height: float,
    sun: Sun,
) -> None:
    """Adds the sun shadow and the contact shadow of a box on the ground.

    Args:
        shadows: Receives the polygons.
        centre: (x, s).
        half: Half extents (x, s).
        height: Metres.
        sun: The sun.
    """
    (x, s), (hx, hs) = centre, half
    dx, ds = sun.cast(height)
    below = (x, -1.0, s)
    for label, mx, ms, px, ps in (
        (SUN_SHADOW, x + dx / 2, s + ds / 2, hx + abs(dx) / 2, hs + abs(ds) / 2),
        (CONTACT_SHADOW, x, s, hx * 1.04, hs * 1.02),
    ):
        corners: list[Point] = [(mx - px, 0.0, ms - ps), (mx + px, 0.0, ms - ps),
                                (mx + px, 0.0, ms + ps), (mx - px, 0.0, ms + ps)]  # fmt: skip
        shadows.add(corners, label, colour=BLACK, inside=below)
