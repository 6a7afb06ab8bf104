"""Where the smoothed embedding will be in a moment, if the camera goes on seeing what it sees."""

from __future__ import annotations

import math

import numpy as np

from semla_ros.errors import ConfigError
from semla_ros.types import Float32Array


def extrapolated(
    before: Float32Array,
    now: Float32Array,
    *,
    elapsed_s: float,
    horizon_s: float,
    time_constant_s: float,
) -> Float32Array:
    """Return the smoothed embedding (D,) float32 expected `horizon_s` from now.

    The velocity of a low-pass filter dies away with its time constant T. After a change of scene
    it still has now - before = (goal - before) (1 - exp(-dt/T)) as its last step, so what is left
    of the way is (now - before) / (exp(dt/T) - 1), and 1 - exp(-h/T) of it is covered in h.

    Args:
        before: Smoothed embedding of the observation before.
        now: The newest one.
        elapsed_s: dt between the two, > 0.
        horizon_s: h, >= 0.
        time_constant_s: T of the filter; 0: there is nothing left of the way.

    Raises:
        ConfigError: Impossible times.
    """
    if not elapsed_s > 0 or not horizon_s >= 0 or not time_constant_s >= 0:
        raise ConfigError(
            "expected elapsed time > 0 s, horizon and time constant >= 0 s, got "
            f"{elapsed_s!r}, {horizon_s!r} and {time_constant_s!r}"
        )
    if time_constant_s == 0 or elapsed_s / time_constant_s > math.log(np.finfo(np.float32).max):
        return now
    left = 1.0 / math.expm1(elapsed_s / time_constant_s)
    share = -math.expm1(-horizon_s / time_constant_s)
    ahead: Float32Array = (now + (left * share) * (now - before)).astype(np.float32, copy=False)
    return ahead
