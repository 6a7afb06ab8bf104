"""The arithmetic: against definitions, other implementations and laws."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semla_ros.bench.measures import Slope, jitter, slope, spread, summary

times = st.lists(st.floats(0, 1e6), min_size=1, max_size=60)


@given(values=times)
def test_a_summary_is_ordered_and_counts_everything(values):
    found = summary(values)
    assert found["count"] == len(values)
    assert found["p50"] <= found["p95"] <= found["p99"] <= found["max"] == max(values)
    assert found["p50"] == pytest.approx(np.median(values))


def test_an_empty_summary_is_only_a_count():
    assert summary([]) == {"count": 0}


def test_one_outlier_is_never_trimmed():
    assert summary([1.0] * 999 + [1000.0])["max"] == 1000.0


def test_jitter_of_an_even_clock_is_zero_and_of_one_late_frame_is_seen_thrice():
    np.testing.assert_allclose(jitter([0, 10, 20, 30, 40]), 0)
    np.testing.assert_allclose(jitter([0, 10, 25, 30, 40]), [5, 10, 5])
    assert jitter([0, 10]).size == 0


def test_a_slope_is_found_with_an_interval_that_holds_it():
    rng = np.random.default_rng(0)
    seconds = np.linspace(0, 100, 500)
    inside = 0
    for _ in range(100):
        found = slope(seconds, 3.0 + 0.25 * seconds + rng.normal(0, 2, 500))
        assert found.per_s == pytest.approx(0.25, abs=0.05)
        inside += found.low <= 0.25 <= found.high
    assert inside >= 88  # 95 expected


def test_noise_alone_does_not_grow_and_a_leak_does():
    rng = np.random.default_rng(1)
    seconds = np.arange(400.0)
    grown = [slope(seconds, rng.normal(300, 1, 400)).grows for _ in range(100)]
    assert sum(grown) <= 8  # 2.5 expected
    assert slope(seconds, 300 + 0.1 * seconds + rng.normal(0, 1, 400)).grows


def test_correlated_noise_does_not_fool_the_interval():
    """Memory moves in steps: neighbouring samples tell the same thing twice."""
    rng = np.random.default_rng(2)
    grown = 0
    for _ in range(100):
        steps = np.repeat(rng.normal(0, 1, 20), 20)
        grown += slope(np.arange(400.0), steps).grows
    assert grown <= 8


def test_a_line_through_too_little_has_no_interval():
    assert slope([0.0], [1.0]).per_s == 0.0
    two = slope([0.0, 1.0], [1.0, 3.0])
    assert two.per_s == 2.0
    assert math.isnan(two.low)
    assert not two.grows
    assert not Slope(1.0, 0.0, 2.0).grows


def test_a_spread_keeps_the_worst_repeat():
    over = spread([10.0, 12.0, 50.0, math.nan])
    assert (over.median, over.low, over.high) == (12.0, 10.0, 50.0)
    assert math.isnan(spread([]).median)
