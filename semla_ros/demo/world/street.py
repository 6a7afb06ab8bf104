"""Streets: a seeded sequence of plots, junctions and everything that stands or moves there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from semla_ros.demo.world import buildings, plants
from semla_ros.demo.world.faces import Colour, FaceList, Faces, Point, join
from semla_ros.demo.world.furnishing import Kerb, furnish
from semla_ros.demo.world.ground import MATERIAL, Profile
from semla_ros.demo.world.shadows import Shadows, Sun
from semla_ros.demo.world.shapes import jitter, pick

BEHIND: Final = 20.0
VIEW: Final = 130.0


@dataclass(frozen=True, slots=True)
class _Plot:
    """What may lie beside the street.

    Attributes:
        weight: How often.
        paved: Chance of paving around it.
        build: Adds one of its buildings and returns the height; None: a green plot.
        wide: Shortest and longest front of a building.
        gap: Longest distance of two buildings.
        setback: Nearest and farthest distance from the sidewalk.
        trees: Trees and bushes for each metre of street.
        hedge: Chance of a hedge.
        hall: Chance of a hall far behind.
    """

    weight: float
    paved: float = 0.05
    build: Callable[[FaceList, buildings.Plot, np.random.Generator], float] | None = None
    wide: tuple[float, float] = (0.0, 0.0)
    gap: float = 0.0
    setback: tuple[float, float] = (0.5, 6.0)
    trees: float = 0.0
    hedge: float = 0.0
    hall: float = 0.0


_PLOTS: Final[dict[str, _Plot]] = {
    "terrace": _Plot(0.25, 0.8, buildings.block, (6, 15), setback=(0.0, 0.6)),
    "houses": _Plot(0.17, 0.05, buildings.house, (7, 12), gap=4.0),
    "park": _Plot(0.16, trees=0.28, hedge=0.3),
    "lot": _Plot(0.10, trees=0.03, hall=0.5),
    "tower": _Plot(0.08, 0.8, buildings.tower, (14, 28), gap=6.0),
    "hedge": _Plot(0.08, trees=0.06, hedge=1.0),
    "plaza": _Plot(0.09, 1.0, trees=0.05),
    "hall": _Plot(0.07, 0.4, buildings.wall, (12, 40), gap=3.0),
}


@dataclass(frozen=True, eq=False)
class Street:
    """A street without its moving things.

    Attributes:
        profile: The ground.
        tones: Display colour of every ground material, keyed by its name.
        faces: All standing faces, ordered by key.
        shadows: Ground polygons, ordered by key; label 1 is a sun shadow, 2 a contact shadow.
        lamps: (L, 3) positions of street lights.
        sun: Where the sun stands.
        horizon: What closes the view: "trees", "buildings" or "open".
        length: Metres of street from s = 0 on.
    """

    profile: Profile
    tones: dict[str, Colour]
    faces: Faces
    shadows: Faces
    lamps: NDArray[np.float32]
    sun: Sun
    horizon: str
    length: float

    def lane(self, s: float, side: int) -> float:
        """Signed x of the end of the driving lanes on one side (-1, 1), without parking."""
        return side * float(self.profile.edges_at(s, side)[0])

    def kerb(self, s: float, side: int) -> tuple[float, float]:
        """Signed x of the end of the drivable road and of the sidewalk on one side (-1, 1)."""
        _, parking, _, walk = self.profile.edges_at(s, side).tolist()
        return side * parking, side * walk


@dataclass
class _Draft:
    """A street while it is being laid out."""

    profile: Profile
    shadows: Shadows
    faces: FaceList = field(default_factory=FaceList)
    cars: list[Faces] = field(default_factory=list)
    lamps: list[Point] = field(default_factory=list)


def _tones(rng: np.random.Generator) -> dict[str, Colour]:
    """Ground colours of one street."""
    grey = float(rng.uniform(0.26, 0.44))
    walk = pick(((0.60, 0.58, 0.55), (0.68, 0.60, 0.52), (0.60, 0.46, 0.40)), rng)
    return {
        "road": jitter((grey, grey, grey * 1.03), rng, 0.04),
        "marking": (0.90, 0.90, 0.88),
        "yellow_marking": (0.88, 0.70, 0.16),
        "parking": jitter((grey * 1.12, grey * 1.1, grey * 1.1), rng, 0.04),
        "curb": jitter((0.74, 0.73, 0.70), rng, 0.04),
        "sidewalk": jitter(walk, rng, 0.06),
        "plaza": jitter((0.70, 0.66, 0.60), rng, 0.06),
        "grass": jitter((0.32, 0.46, 0.16), rng, 0.1),
        "field": jitter((0.48, 0.48, 0.22), rng, 0.1),
    }


def _road_edges(rng: np.random.Generator) -> NDArray[np.float32]:
    """(2, 4) ends of road, parking lane, verge and sidewalk on both sides."""
    lanes = float(rng.uniform(2.4, 3.6)) * (2 if rng.random() < 0.3 else 1)
    edges = np.zeros((2, 4), np.float32)
    for side in range(2):
        road = lanes + float(rng.uniform(0.0, 0.6))
        parking = road + (2.2 if rng.random() < 0.35 else 0.0)
        verge = parking + (float(rng.uniform(0.8, 2.5)) if rng.random() < 0.25 else 0.0)
        bare = rng.random() < 0.22
        walk = verge + (0.0 if bare else float(rng.choice((1.5, 2.2, 3.0, 4.5, 6.0))))
        edges[side] = (road, parking, verge, walk)
    return edges


def _marking(rng: np.random.Generator) -> int:
    """A marking style as coded in Profile."""
    style = int(rng.choice(4, p=(0.25, 0.35, 0.15, 0.25)))
    return style + (4 if rng.random() < 0.4 else 0) + (8 if rng.random() < 0.25 else 0)


def _building_row(
    draft: _Draft, kerb: Kerb, span: tuple[float, float], kind: _Plot, rng: np.random.Generator
) -> None:
    """Fills one side with buildings."""
    assert kind.build is not None
    cursor, end = span
    setback = float(rng.uniform(*kind.setback))
    x = kerb.side * (kerb.walk + setback)
    while cursor + 5.0 < end:
        stop = min(cursor + float(rng.uniform(*kind.wide)), end)
        plot = buildings.Plot(x, kerb.side, cursor, stop, float(rng.uniform(7, 13)))
        draft.shadows.wall(x, cursor, stop, kind.build(draft.faces, plot, rng))
        if setback > 2.0 and rng.random() < 0.6:
            at = float(rng.uniform(cursor, stop))
            plants.bush(draft.faces, x - kerb.side * 0.9, at, rng)
        cursor = stop + (float(rng.uniform(0.3, 1.0)) * kind.gap if kind.gap else 0.0)


def _green(
    draft: _Draft, kerb: Kerb, span: tuple[float, float], kind: _Plot, rng: np.random.Generator
) -> None:
    """Fills one side with trees, hedges or next to nothing."""
    start, end = span
    for _ in range(int(rng.poisson(kind.trees * (end - start)))):
        x = kerb.side * (kerb.walk + 1.5 + float(rng.exponential(7.0)))
        at = float(rng.uniform(start, end))
        if rng.random() < 0.75:
            height, wide = plants.tree(draft.faces, x, at, rng)
            draft.shadows.tree(x, at, height, width=2 * wide)
        else:
            plants.bush(draft.faces, x, at, rng)
    if kind.hedge == 1.0 or (kind.hedge and rng.random() < kind.hedge):
        x = kerb.side * (kerb.walk + 0.3)
        plants.hedge(draft.faces, x, span, rng, depth=kerb.side * 1.2)
    if kind.hall and rng.random() < kind.hall:
        x = kerb.side * (kerb.walk + float(rng.uniform(15, 40)))
        plot = buildings.Plot(x, kerb.side, start, end, 10.0)
        buildings.wall(draft.faces, plot, rng)


def _block(
    draft: _Draft, span: tuple[float, float], edges: NDArray[np.float32], rng: np.random.Generator
) -> None:
    """Lays out one stretch of street between two junctions or plot borders."""
    profile, kinds = draft.profile, tuple(_PLOTS.values())
    rows = profile.rows(*span)
    profile.edges[rows] = edges
    profile.marking[rows] = _marking(rng)
    for k, side in enumerate((-1, 1)):
        kind = kinds[int(rng.choice(len(kinds), p=[kind.weight for kind in kinds]))]
        kerb = Kerb(side, *edges[k].tolist())
        paved = rng.random() < kind.paved
        beyond = "plaza" if paved else ("grass", "field")[int(rng.random() < 0.2)]
        profile.outer[rows, k] = MATERIAL[beyond]
        fill = _green if kind.build is None else _building_row
        fill(draft, kerb, span, kind, rng)
        cars, lamps = furnish(draft.faces, draft.shadows, kerb, span, rng)
        draft.cars.extend(cars)
        draft.lamps.extend(lamps)


def _lay_out(draft: _Draft, end: float, rng: np.random.Generator, *, steady: bool) -> None:
    """Strings plots and junctions together from the start of the draft to s = end."""
    profile = draft.profile
    cursor, edges = profile.start, _road_edges(rng)
    while cursor < end:
        stop = min(cursor + float(rng.uniform(16.0, 55.0)), end)
        _block(draft, (cursor, stop), edges, rng)
        cursor = stop
        if rng.random() < 0.45 and cursor < end:
            width = float(rng.uniform(6.0, 12.0))
            rows = profile.rows(cursor, min(cursor + width, end))
            profile.edges[rows], profile.kind[rows] = edges, 1
            if rng.random() < 0.6:
                profile.kind[profile.rows(cursor - 4.0, cursor - 0.8)] = 2
            cursor += width
            fresh = _road_edges(rng)
            edges = fresh + (edges - fresh)[:, :1] if steady else fresh


def sample_street(rng: np.random.Generator, *, length: float, steady: bool = False) -> Street:
    """Samples a street.

    Args:
        rng: Source of everything.
        length: Metres that can be driven; the view behind its end is laid out as well.
        steady: Keep the width of the driving lanes from end to end.

    Returns:
        The street from s = -BEHIND to s = length + VIEW.
    """
    sun = Sun(azimuth=float(rng.uniform(-np.pi, np.pi)), height=float(rng.uniform(0.45, 1.1)))
    draft = _Draft(Profile.meadow(-BEHIND, length + VIEW), Shadows(sun))
    _lay_out(draft, length + VIEW, rng, steady=steady)
    faces, shadows = join([draft.faces.build(), *draft.cars]), draft.shadows.build()
    return Street(
        profile=draft.profile,
        tones=_tones(rng),
        faces=faces.take(np.argsort(faces.key, kind="stable")),
        shadows=shadows.take(np.argsort(shadows.key, kind="stable")),
        lamps=np.array(draft.lamps, np.float32).reshape(-1, 3),
        sun=sun,
        horizon=("trees", "buildings", "open")[int(rng.choice(3, p=(0.4, 0.35, 0.25)))],
        length=length,
    )
