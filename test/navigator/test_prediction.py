"""Extrapolating the filter: exact after a change of scene, still where nothing moves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semla_ros.errors import ConfigError
from semla_ros.navigator.prediction import extrapolated
from semla_ros.navigator.smoothing import EmbeddingFilter

seconds = st.floats(0.02, 2.0)


@given(elapsed=seconds, horizon=seconds, time_constant=st.floats(0.1, 10.0))
def test_after_a_change_of_scene_it_is_where_the_filter_will_be(elapsed, horizon, time_constant):
    rng = np.random.default_rng(0)
    old, new = (rng.normal(size=8).astype(np.float32) for _ in range(2))
    smooth = EmbeddingFilter(time_constant, 1000.0)
    before = smooth.update(0, old)
    now_ns = round(elapsed * 1e9)
    now = smooth.update(now_ns, new)
    later = smooth.update(now_ns + round(horizon * 1e9), new)
    ahead = extrapolated(
        before, now, elapsed_s=elapsed, horizon_s=horizon, time_constant_s=time_constant
    )
    np.testing.assert_allclose(ahead, later, atol=2e-4)
    assert ahead.dtype == np.float32


@pytest.mark.parametrize("time_constant", [0.0, 1e-6, 1.0])
def test_what_stands_still_stays(time_constant):
    point = np.ones(4, np.float32)
    ahead = extrapolated(point, point, elapsed_s=0.2, horizon_s=5.0, time_constant_s=time_constant)
    np.testing.assert_array_equal(ahead, point)


def test_now_is_where_it_is_now():
    before, now = np.zeros(3, np.float32), np.ones(3, np.float32)
    ahead = extrapolated(before, now, elapsed_s=0.2, horizon_s=0.0, time_constant_s=1.0)
    np.testing.assert_array_equal(ahead, now)


def test_without_a_filter_there_is_nothing_left_of_the_way():
    before, now = np.zeros(3, np.float32), np.ones(3, np.float32)
    ahead = extrapolated(before, now, elapsed_s=0.2, horizon_s=1.0, time_constant_s=0.0)
    np.testing.assert_array_equal(ahead, now)


@pytest.mark.parametrize("times", [(0, 1, 1), (0.1, -1, 1), (0.1, 1, -1), (np.nan, 1, 1)])
def test_impossible_times_are_refused(times):
    point = np.zeros(2, np.float32)
    elapsed, horizon, constant = times
    with pytest.raises(ConfigError, match="elapsed"):
        extrapolated(point, point, elapsed_s=elapsed, horizon_s=horizon, time_constant_s=constant)
