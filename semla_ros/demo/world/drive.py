"""A continuous seeded drive along one street through changing weather."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np

from semla_ros.core.errors import ConfigError
from semla_ros.demo.world.conditions import Conditions, blend, conditions_of
from semla_ros.demo.world.render import SceneImage, render
from semla_ros.demo.world.scene import Camera, Mover, Scene, moving_car, walker
from semla_ros.demo.world.street import Street, sample_street

DEMO_SEGMENTS: Final[tuple[tuple[str, float], ...]] = (
    ("clear-day", 16.0),
    ("fog-day", 14.0),
    ("rain-day", 16.0),
    ("rain-night", 14.0),
    ("clear-night", 16.0),
    ("fog-night", 14.0),
    ("snow-night", 14.0),
    ("snow-day", 16.0),
)
"""The two-minute script of the demo: every domain once, with dusk in the rain and dawn in snow."""

SPEED: Final = 7.5
TRANSITION: Final = 4.0
START_NS: Final = 1_000_000_000
_LONGEST: Final = 3600.0


@dataclass(frozen=True, eq=False)
class DriveFrame:
    """One frame of a drive.

    Attributes:
        stamp_ns: Sensor time in nanoseconds.
        image: The picture with labels and depth.
        domain: The domain that dominates.
    """

    stamp_ns: int
    image: SceneImage
    domain: str


def _traffic(rng: np.random.Generator, street: Street, seconds: float) -> tuple[Mover, ...]:
    """Cars ahead, oncoming cars, walkers and persons who cross in time before the camera."""
    left, right = -street.lane(0.0, -1), street.lane(0.0, 1)
    movers: list[Mover] = []
    for gap in (20.0, 47.0):
        lead = moving_car(rng, street.sun, at=(0.45 * right, gap), speed=(0.0, SPEED), turns=0)
        surge = (float(rng.uniform(4.0, 9.0)), float(rng.uniform(23.0, 41.0)))
        movers.append(replace(lead, surge=surge))
    meeting = float(rng.uniform(1.0, 4.0))
    while meeting < seconds + 12.0:
        speed = -float(rng.uniform(6.0, 10.0))
        at = (-0.5 * left, meeting * (SPEED - speed))
        movers.append(moving_car(rng, street.sun, at=at, speed=(0.0, speed), turns=2))
        meeting += 2.0 + float(rng.exponential(3.5))
    for _ in range(int(rng.poisson(seconds * SPEED / 9.0))):
        s = float(rng.uniform(0.0, street.length + 60.0))
        side = int(rng.choice((-1, 1)))
        road, walk = street.kerb(s, side)
        x = road + side * (0.5 + max(abs(walk - road) - 0.8, 0.6) * float(rng.random()))
        speed = float(rng.choice((-1.3, 0.0, 1.2)))
        movers.append(walker(rng, street.sun, at=(x, s), speed=(0.0, speed)))
    passing = float(rng.uniform(7.0, 12.0))
    while passing < seconds + 12.0:
        side = int(rng.choice((-1, 1)))
        pace, edge = float(rng.uniform(1.4, 1.9)), (-left - 0.6, right + 0.6)
        done = passing - 2.0
        start = (edge[0] if side > 0 else edge[1]) - side * pace * (
            done - (edge[1] - edge[0]) / pace
        )
        crossing = walker(rng, street.sun, at=(start, passing * SPEED), speed=(side * pace, 0.0))
        movers.append(replace(crossing, reach=edge))
        passing += 5.0 + float(rng.exponential(6.0))
    return tuple(movers)


class Drive:
    """A drive; frames are computed on demand, each from its number alone.

    Args:
        seed: Names the street, its traffic and its weather.
        fps: Frames per second.
        segments: (domain, seconds) in order.
        size: (height, width) in pixels.

    Raises:
        ConfigError: No segments, an unknown domain, or times or a rate that are not positive.
    """

    def __init__(
        self,
        seed: int,
        fps: float = 10.0,
        segments: Sequence[tuple[str, float]] = DEMO_SEGMENTS,
        size: tuple[int, int] = (192, 320),
    ) -> None:
        seconds = sum(length for _, length in segments)
        if not segments or min(length for _, length in segments) <= 0 or not 0 < fps <= 1000:
            raise ConfigError(
                "expected at least one segment, positive seconds and 0 < fps <= 1000, "
                f"got {tuple(segments)!r} at {fps!r} fps; give each segment some seconds"
            )
        if seconds > _LONGEST:
            raise ConfigError(
                f"expected at most {_LONGEST!r} seconds, got {seconds!r}; shorten the segments"
            )
        self.fps, self.size, self.seed = fps, size, seed
        self.segments = tuple(segments)
        self._count = round(seconds * fps)
        rng = np.random.default_rng([31, seed])
        self._street = sample_street(rng, length=seconds * SPEED + 20.0, steady=True)
        self._movers = _traffic(rng, self._street, seconds)
        self._phase = rng.uniform(0, 2 * np.pi, 4).tolist()
        self._lens = float(rng.uniform(0.74, 0.86)), float(rng.uniform(0.46, 0.52))
        self._weather = tuple(
            conditions_of(domain, np.random.default_rng([37, seed, k]))
            for k, (domain, _) in enumerate(self.segments)
        )
        self._starts = np.cumsum([0.0, *(length for _, length in self.segments)]).tolist()

    def __len__(self) -> int:
        return self._count

    def weather(self, seconds: float) -> tuple[Conditions, str]:
        """The (blended) conditions at a time since the start, and the domain that dominates."""
        for k, border in enumerate(self._starts[1:-1]):
            half = min(TRANSITION, self.segments[k][1], self.segments[k + 1][1]) / 2
            if abs(seconds - border) < half:
                t = (seconds - border + half) / (2 * half)
                smooth = t * t * (3.0 - 2.0 * t)
                mixed = blend(self._weather[k], self._weather[k + 1], smooth)
                return mixed, self.segments[k + (smooth >= 0.5)][0]
        for k, (start, stop) in enumerate(pairwise(self._starts)):
            if start <= seconds < stop:
                return self._weather[k], self.segments[k][0]
        return self._weather[-1], self.segments[-1][0]

    def scene(self, seconds: float) -> Scene:
        """The street as the camera sees it at a time since the start of the drive."""
        s = SPEED * seconds
        a, b, c, d = self._phase
        bend = 0.0028 * float(np.sin(s / 60.0 + a)) + 0.0016 * float(np.sin(s / 23.0 + b))
        camera = Camera(
            x=0.45 * self._street.lane(0.0, 1) + 0.22 * float(np.sin(s / 17.0 + c)),
            s=s,
            height=1.45 + 0.012 * float(np.sin(7.0 * seconds)),
            focal=self._lens[0],
            horizon=self._lens[1] + 0.004 * float(np.sin(5.3 * seconds + d)),
            slope=0.018 * float(np.sin(s / 31.0 + d)),
            bend=bend,
            roll=0.006 * float(np.sin(1.9 * seconds + a)),
        )
        return Scene(self._street, camera, self._movers, seconds, self.seed)

    def frame(self, i: int) -> DriveFrame:
        """Frame number i.

        Raises:
            ConfigError: The number is outside 0..len - 1.
        """
        if not 0 <= i < self._count:
            raise ConfigError(
                f"expected a frame number of 0 to {self._count - 1}, got {i!r}; stay inside"
            )
        seconds = i / self.fps
        conditions, domain = self.weather(seconds)
        noise = int(np.random.SeedSequence([41, self.seed, i]).generate_state(1)[0])
        image = render(self.scene(seconds), conditions, size=self.size, noise_seed=noise)
        return DriveFrame(START_NS + round(i * 1e9 / self.fps), image, domain)
