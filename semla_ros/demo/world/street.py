"""Streets: a seeded sequence of plots, junctions and everything that stands or moves there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from semla_ros.demo.world import buildings, plants
from semla_ros.demo.world.faces import Colour, FaceList, Faces, jitter, join
from semla_ros.demo.world.furnishing import Kerb, furnish
from semla_ros.demo.world.ground import MATERIAL, STEP, Profile
from semla_ros.demo.world.shadows import Sun, shadow_quad

BEHIND: Final = 20.0
VIEW: Final = 130.0
PLOTS: Final[tuple[str, ...]] = (
    "terrace", "houses", "park", "lot", "tower", "hedge", "plaza", "hall",
)  # fmt: skip
WEIGHTS: Final = (0.25, 0.17, 0.16, 0.10, 0.08, 0.08, 0.09, 0.07)


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
        row = int(np.clip((s - self.profile.start) / STEP, 0, len(self.profile.kind) - 1))
        return side * float(self.profile.edges[row, (side + 1) // 2, 0])

    def kerb(self, s: float, side: int) -> tuple[float, float]:
        """Signed x of the end of the drivable road and of the sidewalk on one side (-1, 1)."""
        row = int(np.clip((s - self.profile.start) / STEP, 0, len(self.profile.kind) - 1))
        edges = self.profile.edges[row, (side + 1) // 2]
        return side * float(edges[1]), side * float(edges[3])


@dataclass
class _Draft:
    """A street while it is being laid out."""

    start: float
    edges: NDArray[np.float32]
    outer: NDArray[np.uint8]
    kind: NDArray[np.uint8]
    marking: NDArray[np.uint8]
    sun: Sun
    faces: FaceList = field(default_factory=FaceList)
    shadows: FaceList = field(default_factory=FaceList)
    parts: list[Faces] = field(default_factory=list)
    lamps: list[tuple[float, float, float]] = field(default_factory=list)

    def rows(self, a: float, b: float) -> slice:
        """Profile rows from s = a to s = b."""
        return slice(int((a - self.start) / STEP), int((b - self.start) / STEP))


def _tones(rng: np.random.Generator) -> dict[str, Colour]:
    """Ground colours of one street."""
    grey = float(rng.uniform(0.26, 0.44))
    walk = ((0.60, 0.58, 0.55), (0.68, 0.60, 0.52), (0.60, 0.46, 0.40))[int(rng.integers(3))]
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
    draft: _Draft, kerb: Kerb, span: tuple[float, float], kind: str, rng: np.random.Generator
) -> None:
    """Fills one side with buildings."""
    cursor, end = span
    setback = float(rng.uniform(0.0, 0.6)) if kind == "terrace" else float(rng.uniform(0.5, 6.0))
    while cursor + 5.0 < end:
        wide = {"terrace": (6, 15), "houses": (7, 12), "tower": (14, 28), "hall": (12, 40)}[kind]
        stop = min(cursor + float(rng.uniform(*wide)), end)
        x = kerb.side * (kerb.walk + setback)
        plot = buildings.Plot(x, kerb.side, cursor, stop, float(rng.uniform(7, 13)))
        build = {"terrace": buildings.block, "houses": buildings.house,
                 "tower": buildings.tower, "hall": buildings.wall}[kind]  # fmt: skip
        height = build(draft.faces, plot, rng)
        corners = ((x, cursor), (x, stop))
        shadow_quad(draft.shadows, corners, height, draft.sun)
        if setback > 2.0 and rng.random() < 0.6:
            at = float(rng.uniform(cursor, stop))
            plants.bush(draft.faces, x - kerb.side * 0.9, at, rng)
        gap = {"terrace": 0.0, "houses": 4.0, "tower": 6.0, "hall": 3.0}[kind]
        cursor = stop + (float(rng.uniform(0.3, 1.0)) * gap if gap else 0.0)


def _green(
    draft: _Draft, kerb: Kerb, span: tuple[float, float], kind: str, rng: np.random.Generator
) -> None:
    """Fills one side with trees, hedges or next to nothing."""
    start, end = span
    density = {"park": 0.28, "lot": 0.03, "hedge": 0.06, "plaza": 0.05}[kind]
    for _ in range(int(rng.poisson(density * (end - start)))):
        x = kerb.side * (kerb.walk + 1.5 + float(rng.exponential(7.0)))
        at = float(rng.uniform(start, end))
        if rng.random() < 0.75:
            height, wide = plants.tree(draft.faces, x, at, rng)
            shadow_quad(draft.shadows, ((x, at),), height, draft.sun, width=2 * wide)
        else:
            plants.bush(draft.faces, x, at, rng)
    if kind == "hedge" or (kind == "park" and rng.random() < 0.3):
        x = kerb.side * (kerb.walk + 0.3)
        plants.hedge(draft.faces, x, span, rng, depth=kerb.side * 1.2)
    if kind == "lot" and rng.random() < 0.5:
        x = kerb.side * (kerb.walk + float(rng.uniform(15, 40)))
        plot = buildings.Plot(x, kerb.side, start, end, 10.0)
        buildings.wall(draft.faces, plot, rng)


def _block(
    draft: _Draft, span: tuple[float, float], edges: NDArray[np.float32], rng: np.random.Generator
) -> None:
    """Lays out one stretch of street between two junctions or plot borders."""
    rows = draft.rows(*span)
    draft.edges[rows] = edges
    draft.marking[rows] = _marking(rng)
    for k, side in enumerate((-1, 1)):
        kind = PLOTS[int(rng.choice(len(PLOTS), p=WEIGHTS))]
        kerb = Kerb(side, *edges[k].tolist())
        paved = {"terrace": 0.8, "tower": 0.8, "plaza": 1.0, "hall": 0.4}.get(kind, 0.05)
        beyond = "plaza" if rng.random() < paved else ("grass", "field")[int(rng.random() < 0.2)]
        draft.outer[rows, k] = MATERIAL[beyond]
        if kind in ("terrace", "houses", "tower", "hall"):
            _building_row(draft, kerb, span, kind, rng)
        else:
            _green(draft, kerb, span, kind, rng)
        pieces = furnish(draft.faces, draft.shadows, kerb, span, draft.sun, rng)
        draft.parts.extend(pieces.cars)
        draft.lamps.extend(pieces.lamps)


def _lay_out(draft: _Draft, end: float, rng: np.random.Generator, *, steady: bool) -> None:
    """Strings plots and junctions together from the start of the draft to s = end."""
    cursor, edges = draft.start, _road_edges(rng)
    while cursor < end:
        stop = min(cursor + float(rng.uniform(16.0, 55.0)), end)
        _block(draft, (cursor, stop), edges, rng)
        cursor = stop
        if rng.random() < 0.45 and cursor < end:
            width = float(rng.uniform(6.0, 12.0))
            rows = draft.rows(cursor, min(cursor + width, end))
            draft.edges[rows], draft.kind[rows] = edges, 1
            if rng.random() < 0.6:
                draft.kind[draft.rows(cursor - 4.0, cursor - 0.8)] = 2
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
    count = int((length + VIEW + BEHIND) / STEP)
    sun = Sun(azimuth=float(rng.uniform(-np.pi, np.pi)), height=float(rng.uniform(0.45, 1.1)))
    draft = _Draft(-BEHIND, np.ones((count, 2, 4), np.float32), np.zeros((count, 2), np.uint8),
                   np.zeros(count, np.uint8), np.zeros(count, np.uint8), sun)  # fmt: skip
    draft.outer[:] = MATERIAL["grass"]
    _lay_out(draft, length + VIEW, rng, steady=steady)
    faces, shadows = join([draft.faces.build(), *draft.parts]), draft.shadows.build()
    return Street(
        profile=Profile(-BEHIND, draft.edges, draft.outer, draft.kind, draft.marking),
        tones=_tones(rng),
        faces=faces.take(np.argsort(faces.key, kind="stable")),
        shadows=shadows.take(np.argsort(shadows.key, kind="stable")),
        lamps=np.array(draft.lamps, np.float32).reshape(-1, 3),
        sun=sun,
        horizon=("trees", "buildings", "open")[int(rng.choice(3, p=(0.4, 0.35, 0.25)))],
        length=length,
    )
