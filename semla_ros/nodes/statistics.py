"""Rolling numbers of the stream: rates, ages, latencies, swaps, support.

Nothing here divides by a duration that may be zero: simulated time can stand still.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from semla_ros.core.answers import SegmentationResult
from semla_ros.core.timing import now_ms

WINDOW = 300
"""How many of the newest frames the rates and percentiles are of."""


TOLD_MS = 60_000.0
"""How long a failed swap is told that nobody has asked for again; it then is history."""


@dataclass(frozen=True, slots=True)
class FrameValues:
    """Numbers of `FrameStatistics`; NaN where there are none yet.

    Attributes:
        rate_hz: Arrivals per second over the window.
        since_last_s: Since the last arrival, None if none came.
        processing_p50_s, processing_p95_s: From taking a frame to its mask being published.
        age_p50_s, age_p95_s: Capture stamp to publication, by the node's clock.
        swaps, failed_swaps: Changes of the adapters.
        last_swap_error: Why the newest one failed, for `TOLD_MS`; empty once one succeeds.
        level, score: Newest support level and smoothed score.
        support_age_s: How old the observation behind it was.
    """

    rate_hz: float
    since_last_s: float | None
    processing_p50_s: float
    processing_p95_s: float
    age_p50_s: float
    age_p95_s: float
    swaps: int
    failed_swaps: int
    last_swap_error: str
    level: str
    score: float
    support_age_s: float


class FrameStatistics:
    """Rolling record of arrivals and results; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._arrivals: deque[float] = deque(maxlen=WINDOW)
        self._processing: deque[float] = deque(maxlen=WINDOW)
        self._ages: deque[float] = deque(maxlen=WINDOW)
        self._swaps = 0
        self._failed_swaps = 0
        self._last_swap_error, self._failed_ms = "", 0.0
        self._level = ""
        self._score = math.nan
        self._support_age_s = math.nan

    def arrived(self) -> None:
        """Record that an image came."""
        with self._lock:
            self._arrivals.append(now_ms())

    def segmented(
        self, result: SegmentationResult, *, processing_s: float, age_s: float | None
    ) -> None:
        """Record a published result; `age_s` is None where the clocks cannot tell."""
        with self._lock:
            self._processing.append(processing_s)
            if age_s is not None:
                self._ages.append(age_s)
            if result.support is not None:
                self._level, self._score = result.support.level, result.support.smoothed
                self._support_age_s = result.support.age_s

    def swapped(self, *, committed: bool, error: str) -> None:
        """Record an attempt to change the adapters."""
        with self._lock:
            if committed:
                self._swaps += 1
                self._last_swap_error = ""
            else:
                self._failed_swaps += 1
                self._last_swap_error, self._failed_ms = error, now_ms()

    def went_stale(self) -> None:
        """Record that the camera stalled."""
        with self._lock:
            self._level, self._score, self._support_age_s = "STALE", 0.0, math.nan

    def values(self) -> FrameValues:
        """Return what is known now."""
        with self._lock:
            now = now_ms()
            told = now - self._failed_ms <= TOLD_MS
            span = self._arrivals[-1] - self._arrivals[0] if self._arrivals else 0.0
            return FrameValues(
                rate_hz=(len(self._arrivals) - 1) / (span * 1e-3) if span > 0 else 0.0,
                since_last_s=(now - self._arrivals[-1]) * 1e-3 if self._arrivals else None,
                processing_p50_s=percentile(self._processing, 50),
                processing_p95_s=percentile(self._processing, 95),
                age_p50_s=percentile(self._ages, 50),
                age_p95_s=percentile(self._ages, 95),
                swaps=self._swaps,
                failed_swaps=self._failed_swaps,
                last_swap_error=self._last_swap_error if told else "",
                level=self._level,
                score=self._score,
                support_age_s=self._support_age_s,
            )


def percentile(values: Iterable[float], share: float) -> float:
    """Return the nearest-rank percentile of `values`, NaN if there are none."""
    ordered = sorted(values)
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(share / 100 * len(ordered)) - 1)]
