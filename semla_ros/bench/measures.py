"""The arithmetic of every figure: percentiles, jitter, slopes. Nothing is trimmed anywhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from semla_ros.core.types import Float64Array
from semla_ros.data.metrics import percentiles
from semla_ros.evaluation.extra import evaluate_extra

_FEWEST = 3
_BLOCKS = 20


@dataclass(frozen=True, slots=True)
class Slope:
    """A straight line through samples.

    Attributes:
        per_s: Rise per second.
        low, high: 95 % confidence interval of it; NaN with fewer than three samples.
    """

    per_s: float
    low: float
    high: float

    @property
    def grows(self) -> bool:
        """Whether the rise is certain: the whole interval is above zero."""
        return self.low > 0


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure over repeats.

    Attributes:
        median: Of the repeats.
        low, high: The least and the greatest.
    """

    median: float
    low: float
    high: float


def summary(values: Sequence[float] | Float64Array) -> dict[str, float]:
    """Return count, p50, p95, p99, mean, max of `values`; only the count without any.

    Percentiles interpolate linearly between order statistics.
    """
    return {"count": len(values), **percentiles(values)}


def jitter(arrivals: Sequence[float] | Float64Array) -> Float64Array:
    """Return how much each interval between arrivals differs from the one before it.

    |second difference|, two values fewer than arrivals. Source: ros2_benchmark,
    "Frame-to-Frame Jitter".
    """
    times = np.asarray(arrivals, np.float64)
    return np.abs(np.diff(times, n=2)) if times.size >= _FEWEST else np.zeros(0)


def slope(seconds: Sequence[float], values: Sequence[float]) -> Slope:
    """Return the least-squares line through `values` over `seconds`.

    Neighbouring samples of memory are nearly equal, which would make the interval far too
    narrow: the interval is therefore that of the line through the means of 20 stretches.

    Raises:
        MissingExtraError: SciPy is missing.
    """
    x, y = np.asarray(seconds, np.float64), np.asarray(values, np.float64)
    if x.size < 2 or float(np.ptp(x)) == 0.0:
        return Slope(0.0, math.nan, math.nan)
    stats = evaluate_extra("scipy.stats")
    rise = float(stats.linregress(x, y).slope)
    parts = min(_BLOCKS, x.size)
    if parts < _FEWEST:
        return Slope(rise, math.nan, math.nan)
    means = [[part.mean() for part in np.array_split(each, parts)] for each in (x, y)]
    line = stats.linregress(*means)
    error = float(line.stderr * stats.t.ppf(0.975, parts - 2))
    return Slope(rise, min(rise, line.slope - error), max(rise, line.slope + error))


def spread(values: Sequence[float]) -> Spread:
    """Return median and range of one figure over repeats; NaN without any."""
    known = [v for v in values if math.isfinite(v)]
    if not known:
        return Spread(math.nan, math.nan, math.nan)
    return Spread(float(np.median(known)), min(known), max(known))
