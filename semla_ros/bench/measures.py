"""The arithmetic of every figure: percentiles, jitter, slopes. Nothing is trimmed anywhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from semla_ros.core.types import Float64Array

SHARES = (50, 95, 99)
_Z95 = 1.96
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
    """Return count, p50, p95, p99, max, mean of `values`; only the count without any.

    Percentiles interpolate linearly between order statistics.
    """
    array = np.asarray(values, np.float64)
    if not array.size:
        return {"count": 0}
    points = np.percentile(array, SHARES)
    named = {f"p{share}": float(point) for share, point in zip(SHARES, points, strict=True)}
    return {"count": array.size, **named, "max": float(array.max()), "mean": float(array.mean())}


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
    """
    x, y = np.asarray(seconds, np.float64), np.asarray(values, np.float64)
    if x.size < 2 or float(np.ptp(x)) == 0.0:
        return Slope(0.0, math.nan, math.nan)
    rise = _least_squares(x, y)[0]
    parts = min(_BLOCKS, x.size)
    means_x = np.array([part.mean() for part in np.array_split(x, parts)])
    means_y = np.array([part.mean() for part in np.array_split(y, parts)])
    if parts < _FEWEST:
        return Slope(rise, math.nan, math.nan)
    middle, residual = _least_squares(means_x, means_y)
    spread = float(np.sum((means_x - means_x.mean()) ** 2))
    error = math.sqrt(residual / (parts - 2) / spread) * _student(parts - 2)
    return Slope(rise, min(rise, middle - error), max(rise, middle + error))


def spread(values: Sequence[float]) -> Spread:
    """Return median and range of one figure over repeats; NaN without any."""
    known = [v for v in values if math.isfinite(v)]
    if not known:
        return Spread(math.nan, math.nan, math.nan)
    return Spread(float(np.median(known)), min(known), max(known))


def _least_squares(x: Float64Array, y: Float64Array) -> tuple[float, float]:
    """Return slope and sum of squared residuals."""
    dx, dy = x - x.mean(), y - y.mean()
    rise = float((dx * dy).sum() / (dx * dx).sum())
    return rise, float(((dy - rise * dx) ** 2).sum())


def _student(freedom: int) -> float:
    """Return the two-sided 95 % point of Student's t.

    Source: Abramowitz and Stegun 26.7.5 (within 1 % from two degrees of freedom on, exact for
    one).
    """
    if freedom == 1:
        return 12.706
    z, n = _Z95, float(freedom)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    fourth = (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160
    return z + first / n + second / n**2 + third / n**3 + fourth / n**4
