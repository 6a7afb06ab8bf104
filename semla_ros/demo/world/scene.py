"""A scene: a street, a camera in it, and the traffic at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from semla_ros.demo.world.faces import Faces
from semla_ros.demo.world.people import person
from semla_ros.demo.world.shadows import Shadows, Sun
from semla_ros.demo.world.street import Street, sample_street
from semla_ros.demo.world.vehicles import car, footprint

_TRIES: Final = 12


@dataclass(frozen=True)
class Camera:
    """A pinhole camera above the ground, looking along the street.

    Attributes:
        x: Metres right of the centre line.
        s: Metres along the street.
        height: Metres above the ground.
        focal: Focal length as a share of the image width.
        horizon: Height of the horizon as a share of the image height, from above.
        slope: Sideways drift of the view direction, metres per metre.
        bend: Curvature of the street ahead in 1/m.
        roll: Radians.
    """

    x: float
    s: float
    height: float
    focal: float
    horizon: float
    slope: float
    bend: float
    roll: float


@dataclass(frozen=True, eq=False)
class Mover:
    """A car or person with constant velocity.

    Attributes:
        phases: Its faces at the origin in every phase of its motion (one for a car).
        x: Position at time 0.
        s: Position at time 0.
        vx: Velocity in m/s.
        vs: Velocity in m/s.
        quarter_turns: Heading; 0 drives away from the camera.
        shadow: Its shadows on the ground, at the origin and turned.
        reach: x stays between these; a person waits at the kerb before and after crossing.
        surge: Amplitude in metres and period in seconds of a slow swing along s.
    """

    phases: tuple[Faces, ...]
    x: float
    s: float
    vx: float
    vs: float
    quarter_turns: int
    shadow: Faces
    reach: tuple[float, float] = (-1e9, 1e9)
    surge: tuple[float, float] = (0.0, 1.0)

    def at(self, time: float) -> tuple[float, float]:
        """(x, s) at a time in seconds."""
        x = min(max(self.x + self.vx * time, self.reach[0]), self.reach[1])
        swing = self.surge[0] * float(np.sin(2 * np.pi * time / self.surge[1]))
        return x, self.s + self.vs * time + swing

    def faces(self, time: float) -> Faces:
        """The placed faces at a time in seconds."""
        x, s = self.at(time)
        phase = int(time * 1.9 * len(self.phases)) % len(self.phases)
        if len(self.phases) == 1:
            return self.phases[0].placed(x, s, quarter_turns=self.quarter_turns)
        if x in self.reach:
            return self.phases[0].placed(x, s)
        start = int(abs(self.x) * 7.0) % len(self.phases)
        return self.phases[(phase + start) % len(self.phases)].placed(x, s)


@dataclass(frozen=True, eq=False)
class Scene:
    """What the camera sees, without weather.

    Attributes:
        street: Everything that stands.
        camera: The view.
        movers: Traffic and persons.
        time: Seconds; moves the movers.
        seed: Names the scene; picks clouds, lens drops and lit windows.
    """

    street: Street
    camera: Camera
    movers: tuple[Mover, ...]
    time: float
    seed: int


def moving_car(
    rng: np.random.Generator,
    sun: Sun,
    *,
    at: tuple[float, float],
    speed: tuple[float, float] = (0.0, 0.0),
    turns: int,
) -> Mover:
    """A random car on the move (or waiting) with its lights on."""
    faces = car(rng, parked=False)
    half = footprint(faces)
    shadows = Shadows(sun)
    shadows.box((0.0, 0.0), half[::-1] if turns % 2 else half, 1.3)
    return Mover((faces,), *at, *speed, turns, shadows.build())


def walker(
    rng: np.random.Generator,
    sun: Sun,
    *,
    at: tuple[float, float],
    speed: tuple[float, float] = (0.0, 0.0),
) -> Mover:
    """A random person."""
    shadows = Shadows(sun)
    shadows.post(0.0, 0.0, 1.7, width=0.4)
    shadows.box((0.0, 0.0), (0.28, 0.2), 0.05)
    return Mover(person(rng), *at, *speed, 0, shadows.build())


def _blocked(faces: Faces, camera: Camera) -> bool:
    """Whether something stands right in front of the camera."""
    ahead = faces.verts[..., 2] - camera.s
    aside = faces.verts[..., 0] - camera.x - camera.slope * ahead
    low = faces.verts[..., 1] < 4.0
    wide = 0.9 + 0.12 * np.maximum(ahead, 0.0)
    return bool(((ahead > -0.5) & (ahead < 4.5) & (np.abs(aside) < wide) & low).any())


def sample_camera(rng: np.random.Generator, street: Street, s: float) -> Camera:
    """A random view: mostly from the road, with varied height, lens, heading and bend."""
    left, right = street.lane(s, -1), street.lane(s, 1)
    return Camera(
        x=float(rng.uniform(0.8 * left, 0.85 * right)),
        s=s,
        height=float(rng.uniform(1.15, 2.3)),
        focal=float(rng.uniform(0.62, 1.05)),
        horizon=float(rng.uniform(0.38, 0.60)),
        slope=float(rng.normal(0.0, 0.11)),
        bend=float(rng.normal(0.0, 0.004)),
        roll=float(rng.normal(0.0, 0.02)),
    )


def _traffic(rng: np.random.Generator, street: Street, camera: Camera) -> list[Mover]:
    """Cars in both lanes and across, persons on the sidewalks and on the road."""
    movers: list[Mover] = []
    for side in (-1, 1):
        at = camera.s + float(rng.uniform(5.0, 30.0))
        while at < camera.s + 90.0 and rng.random() < 0.7:
            lane = street.lane(at, side) * float(rng.uniform(0.35, 0.6))
            if abs(lane - camera.x) > 2.2 or at > camera.s + 8.0:
                movers.append(
                    moving_car(rng, street.sun, at=(lane, at), turns=0 if side > 0 else 2)
                )
            at += float(rng.uniform(7.0, 35.0))
    for _ in range(int(rng.poisson(0.5))):
        at = camera.s + float(rng.uniform(9.0, 45.0))
        x = float(rng.uniform(-7.0, 7.0))
        movers.append(moving_car(rng, street.sun, at=(x, at), turns=int(rng.choice((1, 3)))))
    for _ in range(int(rng.poisson(5.0))):
        at = camera.s + 3.5 + float(rng.exponential(14.0))
        side = int(rng.choice((-1, 1)))
        road, walk = street.kerb(at, side)
        x = road + side * (0.3 + max(abs(walk - road) - 0.6, 1.0) * float(rng.random()))
        if rng.random() < 0.22:
            x = float(rng.uniform(-abs(road), abs(road)))
        for k in range(1 + int(rng.random() < 0.25)):
            movers.append(walker(rng, street.sun, at=(x + 0.65 * k, at + 0.2 * k)))
    return movers


def sample_scene(seed: int) -> Scene:
    """A random street seen from a random place; the same for the same seed."""
    rng = np.random.default_rng([17, seed])
    street = sample_street(rng, length=40.0)
    camera = sample_camera(rng, street, float(rng.uniform(0.0, 40.0)))
    for _ in range(_TRIES):
        if not _blocked(street.faces, camera):
            break
        camera = sample_camera(rng, street, float(rng.uniform(0.0, 40.0)))
    time = float(rng.uniform(0.0, 1.0))
    movers = [m for m in _traffic(rng, street, camera) if not _blocked(m.faces(time), camera)]
    return Scene(street, camera, tuple(movers), time, seed)
