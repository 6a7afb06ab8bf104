"""The support score is Eq. 15 of SemLA, and the levels follow the thresholds."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semla_ros.core.errors import LibraryError
from semla_ros.core.types import BASE, AdapterMix, DomainEstimate
from semla_ros.navigator.support import read_support, support_level, support_score

NAMES = ("fog", "night", "rain")
FOG_RAIN = AdapterMix(("fog", "rain"), (0.75, 0.25))


def estimate(distances, raw=None):
    values = np.asarray(distances, dtype=np.float64)
    raw = values if raw is None else np.asarray(raw, dtype=np.float64)
    embedding = np.zeros(2, np.float32)
    return DomainEstimate(42, embedding, embedding, NAMES[: len(values)], values, raw)


def test_by_hand():
    assert support_score(FOG_RAIN, NAMES, np.array([4.0, 1.0, 2.0])) == pytest.approx(0.3125)


@given(distances=st.lists(st.floats(0, 1e4), min_size=3, max_size=3))
def test_it_lies_between_the_members_similarities(distances):
    score = support_score(FOG_RAIN, NAMES, np.array(distances))
    inverse = [1 / max(distances[i], 1e-6) for i in (0, 2)]
    assert min(inverse) * (1 - 1e-9) <= score <= max(inverse) * (1 + 1e-9)


def test_the_base_supports_nothing():
    mix = AdapterMix(("fog", BASE), (0.5, 0.5))
    distances = np.array([4.0, 1.0, 2.0])
    assert support_score(mix, NAMES, distances) == pytest.approx(0.125)
    assert support_score(AdapterMix.base_only(), NAMES, distances) == 0


def test_an_adapter_that_left_the_library_supports_nothing():
    mix = AdapterMix(("gone", "fog"), (0.5, 0.5))
    assert support_score(mix, NAMES, np.array([4.0, 1.0, 2.0])) == pytest.approx(0.125)


def test_an_excluded_adapter_supports_nothing_while_it_serves():
    distances = np.array([4.0, 1.0, 2.0])
    assert support_score(FOG_RAIN, NAMES, distances, exclude={"fog"}) == pytest.approx(0.125)


def test_another_number_of_distances_is_refused():
    with pytest.raises(LibraryError, match="expected 3 distances"):
        support_score(FOG_RAIN, NAMES, np.ones(2))


@pytest.mark.parametrize(
    ("score", "nearest", "level"),
    [
        (0.2, 5.0, "OK"),
        (0.1, 5.0, "OK"),
        (0.09, 5.0, "LOW"),
        (0.2, 10.0, "OK"),
        (0.2, 10.1, "OUT_OF_LIBRARY"),
        (0.0, math.inf, "OUT_OF_LIBRARY"),
    ],
)
def test_levels(score, nearest, level):
    assert support_level(score, nearest, low=0.1, out_of_library=10.0) == level


def test_thresholds_of_zero_are_off():
    assert support_level(0.0, 1e9, low=0.0, out_of_library=0.0) == "OK"


def test_a_reading_has_the_newest_and_the_smoothed_score():
    reading = read_support(
        estimate([4.0, 1.0, 2.0], raw=[2.0, 3.0, 1.0]), FOG_RAIN, low=0.1, out_of_library=10.0
    )
    assert reading.score == pytest.approx(0.625)
    assert reading.smoothed == pytest.approx(0.3125)
    assert (reading.nearest, reading.nearest_distance) == ("night", 1.0)
    assert (reading.level, reading.observed_ns) == ("OK", 42)


def test_an_excluded_adapter_is_not_the_nearest():
    reading = read_support(
        estimate([4.0, 1.0, 20.0]), FOG_RAIN, low=0, out_of_library=3.0, exclude={"night"}
    )
    assert (reading.nearest, reading.level) == ("fog", "OUT_OF_LIBRARY")


def test_an_empty_library_is_out_of_library():
    reading = read_support(estimate([]), AdapterMix.base_only(), low=0.1, out_of_library=10.0)
    assert (reading.nearest, reading.level, reading.score) == (BASE, "OUT_OF_LIBRARY", 0)


def test_novelty_decides_out_of_library_where_it_is_known():
    near = estimate([1.0, 2.0, 3.0])
    far = replace(near, novelties=np.array([9.0, 4.0, 8.0]))
    mix = AdapterMix(("fog",), (1.0,))
    assert read_support(near, mix, low=0.0, out_of_library=2.0).level == "OK"
    reading = read_support(far, mix, low=0.0, out_of_library=3.5)
    assert (reading.level, reading.novelty) == ("OUT_OF_LIBRARY", 4.0)
    assert read_support(far, mix, low=0.0, out_of_library=4.5).level == "OK"
    without = read_support(far, mix, low=0.0, out_of_library=4.5, exclude={"night"})
    assert (without.level, without.novelty) == ("OUT_OF_LIBRARY", 8.0)


def test_where_every_adapter_is_excluded_nothing_is_near():
    far = replace(estimate([1.0, 2.0, 3.0]), novelties=np.array([9.0, 4.0, 8.0]))
    reading = read_support(
        far, AdapterMix.base_only(), low=0.0, out_of_library=100.0, exclude=set(NAMES)
    )
    assert (reading.nearest, reading.level) == (BASE, "OUT_OF_LIBRARY")
    assert (reading.nearest_distance, reading.novelty) == (math.inf, math.inf)


def test_without_a_calibration_nothing_is_said_about_miou():
    near = estimate([4.0, 1.0, 2.0], raw=[2.0, 3.0, 1.0])
    reading = read_support(near, FOG_RAIN, low=0, out_of_library=9.0)
    assert math.isnan(reading.expected_miou)
    assert math.isnan(reading.miou_lower)
