"""A low-pass filter of embeddings over sensor time."""

from __future__ import annotations

import math

import numpy as np

from semla_ros.core.errors import ConfigError
from semla_ros.core.types import Float32Array, Float64Array

_NS = 1e-9


class EmbeddingFilter:
    """Exponential moving average that depends on elapsed sensor time, not on the frame rate.

    mean <- (1 - b) * mean + b * embedding with b = 1 - exp(-dt / T).
    The first frame, a step back in time (a bag that loops) and a long gap start it anew.
    """

    def __init__(self, time_constant_s: float, max_gap_s: float) -> None:
        """Make an empty filter.

        Args:
            time_constant_s: T in seconds; 0: no smoothing.
            max_gap_s: A longer gap starts the filter anew.

        Raises:
            ConfigError: A negative or not finite time.
        """
        if not 0 <= time_constant_s < math.inf or not 0 < max_gap_s < math.inf:
            raise ConfigError(
                "expected a time constant >= 0 s and a gap > 0 s, got "
                f"{time_constant_s!r} and {max_gap_s!r}"
            )
        self.time_constant_s = time_constant_s
        self.max_gap_s = max_gap_s
        self._mean: Float64Array | None = None
        self._stamp_ns = 0

    def reset(self) -> None:
        """Forget everything; the next frame initialises."""
        self._mean = None

    def update(self, stamp_ns: int, embedding: Float32Array) -> Float32Array:
        """Return the smoothed embedding (D,) float32 after a frame.

        Args:
            stamp_ns: The frame's stamp.
            embedding: (D,) of that frame.
        """
        dt_s = (stamp_ns - self._stamp_ns) * _NS
        mean = self._mean
        if mean is None or mean.shape != embedding.shape or not 0 <= dt_s <= self.max_gap_s:
            mean = embedding.astype(np.float64)
        else:
            mean = mean + self._gain(dt_s) * (embedding - mean)
        self._mean, self._stamp_ns = mean, stamp_ns
        return mean.astype(np.float32)

    def _gain(self, dt_s: float) -> float:
        if self.time_constant_s == 0:
            return 1.0
        return -math.expm1(-dt_s / self.time_constant_s)
