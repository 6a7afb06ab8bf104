"""The filter: a time constant in seconds, whatever the frame rate."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semla_ros.core.errors import ConfigError
from semla_ros.navigator.smoothing import EmbeddingFilter

S = 1_000_000_000


def vector(value):
    return np.full(3, value, np.float32)


def test_the_first_frame_initialises():
    out = EmbeddingFilter(1.0, 5.0).update(99 * S, vector(4))
    np.testing.assert_array_equal(out, vector(4))
    assert out.dtype == np.float32


def test_a_step_decays_by_the_time_constant():
    smooth = EmbeddingFilter(2.0, 5.0)
    smooth.update(0, vector(0))
    np.testing.assert_allclose(smooth.update(2 * S, vector(1)), 1 - math.exp(-1), rtol=1e-6)


@pytest.mark.parametrize("rate_hz", [1, 7, 30, 200])
def test_the_frame_rate_does_not_matter(rate_hz):
    smooth = EmbeddingFilter(1.5, 5.0)
    smooth.update(0, vector(0))
    for i in range(1, 2 * rate_hz + 1):
        out = smooth.update(round(i * S / rate_hz), vector(1))
    np.testing.assert_allclose(out, 1 - math.exp(-2 / 1.5), rtol=1e-5)


@given(
    values=st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=20),
    steps=st.lists(st.integers(0, 2 * S), min_size=20, max_size=20),
)
def test_the_output_stays_within_what_was_seen(values, steps):
    smooth, stamp = EmbeddingFilter(0.7, 5.0), 0
    for value, step in zip(values, steps, strict=False):
        stamp += step
        out = smooth.update(stamp, vector(value))
    assert min(values) - 1e-5 <= out[0] <= max(values) + 1e-5


@pytest.mark.parametrize("stamp", [-1, 5 * S + 1, 500 * S])
def test_a_step_back_or_a_gap_starts_anew(stamp):
    smooth = EmbeddingFilter(1.0, 5.0)
    smooth.update(0, vector(0))
    np.testing.assert_array_equal(smooth.update(stamp, vector(1)), vector(1))


def test_the_longest_gap_itself_is_no_gap():
    smooth = EmbeddingFilter(1.0, 5.0)
    smooth.update(0, vector(0))
    np.testing.assert_allclose(smooth.update(5 * S, vector(1)), 1 - math.exp(-5), rtol=1e-6)


def test_a_bag_loop_gives_the_first_run_again():
    smooth, rng = EmbeddingFilter(1.0, 5.0), np.random.default_rng(0)
    frames = [(i * S // 10, rng.standard_normal(3).astype(np.float32)) for i in range(20)]
    first = [smooth.update(*frame) for frame in frames]
    second = [smooth.update(*frame) for frame in frames]
    np.testing.assert_array_equal(first, second)


def test_reset_forgets():
    smooth = EmbeddingFilter(1.0, 5.0)
    smooth.update(0, vector(0))
    smooth.reset()
    np.testing.assert_array_equal(smooth.update(1, vector(1)), vector(1))


def test_the_same_stamp_again_changes_nothing():
    smooth = EmbeddingFilter(1.0, 5.0)
    smooth.update(S, vector(2))
    np.testing.assert_array_equal(smooth.update(S, vector(9)), vector(2))


def test_no_time_constant_means_no_filter():
    smooth = EmbeddingFilter(0.0, 5.0)
    smooth.update(0, vector(0))
    np.testing.assert_array_equal(smooth.update(1, vector(3)), vector(3))


def test_the_caller_may_reuse_its_array():
    smooth, array = EmbeddingFilter(1.0, 5.0), vector(1)
    smooth.update(0, array)
    array[:] = 77
    np.testing.assert_array_equal(smooth.update(0, vector(0)), vector(1))


@pytest.mark.parametrize(("constant", "gap"), [(-1, 5), (math.nan, 5), (1, 0), (1, math.inf)])
def test_impossible_times_are_refused(constant, gap):
    with pytest.raises(ConfigError, match="time constant"):
        EmbeddingFilter(constant, gap)
