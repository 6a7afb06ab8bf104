"""How far the library covers what the camera sees."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from semla_ros.core.answers import SupportReading
from semla_ros.core.errors import LibraryError
from semla_ros.core.support_calibration import NOTHING, SupportCalibration
from semla_ros.core.types import (
    BASE,
    MIN_DISTANCE,
    AdapterMix,
    DomainEstimate,
    Float64Array,
)


def support_score(
    mix: AdapterMix,
    names: Sequence[str],
    distances: Float64Array,
    *,
    exclude: Collection[str] = (),
) -> float:
    """Return sum of w_i / d_i over the members of `mix`, >= 0; large = well covered.

    Members that the library does not offer contribute nothing: an adapter that has left it or was
    excluded while it still serves, and the base, whatever its null distance. That is a setting and
    does not grow with what is unknown: counted, a small one would call frames covered that no
    adapter knows.

    Args:
        mix: The active mix.
        names: The library's adapters.
        distances: (K,) distance to each.
        exclude: Adapters that may not serve.

    Raises:
        LibraryError: Not one distance per name.
    Source: SemLA (CVPR 2025), supplement, Eq. 15.
    """
    if len(distances) != len(names):
        raise LibraryError(f"expected {len(names)} distances, got {len(distances)}")
    place = _places(tuple(names))
    offered = [name for name in mix.names if name in place and name not in exclude]
    known = {name: float(distances[place[name]]) for name in offered}
    return sum(
        weight / max(known[name], MIN_DISTANCE)
        for name, weight in zip(mix.names, mix.weights, strict=True)
        if name in known
    )


def distances_to(names: Sequence[str], estimate: DomainEstimate | None) -> list[float]:
    """Return the distance of the smoothed embedding to each of `names`, NaN where unknown."""
    place = {} if estimate is None else _places(estimate.names)
    return [
        float(estimate.distances[place[name]]) if estimate and name in place else math.nan
        for name in names
    ]


@lru_cache(maxsize=4)
def _places(names: tuple[str, ...]) -> Mapping[str, int]:
    """Return name -> position; a library's thousands of names are gone through once."""
    return {name: i for i, name in enumerate(names)}


ALWAYS_LOW = 2.0 / MIN_DISTANCE
"""A threshold that no score reaches."""
COME_BACK = 0.9
"""Share of the threshold of OUT_OF_LIBRARY below which a stream is inside the library again."""


def support_level(score: float, novelty: float, *, low: float, out_of_library: float) -> str:
    """Return `OK`, `LOW` or `OUT_OF_LIBRARY`.

    Args:
        score: Support score.
        novelty: Novelty, or the distance of the nearest adapter where no novelty is known.
        low: Scores below are LOW; 0 turns this off.
        out_of_library: A novelty above is OUT_OF_LIBRARY; 0 turns this off.
    """
    if novelty > out_of_library > 0:
        return "OUT_OF_LIBRARY"
    return "LOW" if score < low else "OK"


@dataclass(frozen=True, slots=True)
class Nearest:
    """The library as seen from where the camera is.

    Attributes:
        name: The nearest adapter, the base where there is none.
        distance: To it, smoothed embedding; infinite where there is none.
        novelty: The smallest one, NaN where unknown.
    """

    name: str
    distance: float
    novelty: float

    @property
    def judged(self) -> float:
        """What decides OUT_OF_LIBRARY: the novelty, else the distance."""
        return self.distance if math.isnan(self.novelty) else self.novelty


def nearest_of(estimate: DomainEstimate, *, exclude: Collection[str] = ()) -> Nearest:
    """Return how near the library is.

    Args:
        estimate: Where the camera is.
        exclude: Adapters that may not serve, hence cannot be the nearest.
    """
    place = _places(estimate.names)
    closed = [place[name] for name in exclude if name in place]
    if len(closed) == len(estimate.names):
        return Nearest(BASE, math.inf, math.nan if estimate.novelties is None else math.inf)
    index = _smallest(estimate.distances, closed)
    novelty = math.nan
    if estimate.novelties is not None:
        novelty = float(estimate.novelties[_smallest(estimate.novelties, closed)])
    return Nearest(estimate.names[index], float(estimate.distances[index]), novelty)


def _smallest(distances: Float64Array, closed: Sequence[int]) -> int:
    """Return the place of the smallest that is not `closed`."""
    kept = distances.copy()
    kept[closed] = math.inf
    return int(np.argmin(kept))


def read_support(
    estimate: DomainEstimate,
    mix: AdapterMix,
    *,
    low: float,
    out_of_library: float,
    exclude: Collection[str] = (),
    novelty: float | None = None,
    before: bool = False,
) -> SupportReading:
    """Return how far the library covers `estimate`; what that promises is `promised`.

    Args:
        estimate: Where the camera is.
        mix: The active mix.
        low: Smoothed scores below are LOW.
        out_of_library: A novelty above is OUT_OF_LIBRARY; without novelties the nearest distance.
        exclude: Adapters that may not serve: they support nothing and cannot be the nearest.
        novelty: Filtered over time; None: that of the newest frame alone.
        before: Whether the library was left already: see `COME_BACK`.
    """
    score, smoothed = (
        support_score(mix, estimate.names, d, exclude=exclude)
        for d in (estimate.raw_distances, estimate.distances)
    )
    near = nearest_of(estimate, exclude=exclude)
    near = near if novelty is None else replace(near, novelty=novelty)
    edge = out_of_library * (COME_BACK if before else 1.0)
    level = support_level(smoothed, near.judged, low=low, out_of_library=edge)
    return SupportReading(
        score=score,
        smoothed=smoothed,
        nearest=near.name,
        nearest_distance=near.distance,
        level=level,
        observed_ns=estimate.stamp_ns,
        novelty=near.novelty,
    )


def promised(
    reading: SupportReading, calibration: SupportCalibration, signals: Sequence[float]
) -> SupportReading:
    """Return `reading` with what is promised of the mask that has `signals`.

    Where the level is neither OK nor LOW (OUT_OF_LIBRARY, STALE) the calibration knows nothing.
    """
    known = reading.level in ("OK", "LOW")
    expected, lower = calibration.promise(signals) if known else NOTHING
    return replace(reading, expected_miou=expected, miou_lower=lower)
