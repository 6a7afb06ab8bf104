"""The calibration is piecewise linear, monotone, bounded, and survives the manifest."""

import math
from dataclasses import replace

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from semla_ros.errors import ConfigError
from semla_ros.support_calibration import (
    SupportCalibration,
    SupportSettings,
    calibration_from_dict,
    calibration_to_dict,
)

SETTINGS = SupportSettings(0.05, 5, "euclidean", "inverse", -1.0)
CALIBRATION = SupportCalibration(
    support=(0.1, 0.2, 0.4),
    expected=(0.2, 0.5, 0.6),
    offset=0.15,
    target=0.9,
    coverage=0.91,
    worst_coverage=0.8,
    frames=300,
    domains=("fog", "night"),
    settings=SETTINGS,
    made_by="a test",
)


@pytest.mark.parametrize(
    ("support", "expected", "lower"),
    [
        (0.0, 0.2, 0.05),
        (0.15, 0.35, 0.2),
        (0.3, 0.55, 0.4),
        (9.0, 0.6, 0.45),
    ],
)
def test_by_hand(support, expected, lower):
    assert CALIBRATION.expected_miou(support) == pytest.approx(expected)
    assert CALIBRATION.miou_lower(support) == pytest.approx(lower)


@given(a=st.floats(0, 2), b=st.floats(0, 2))
def test_it_never_falls_and_the_bound_stays_in_range(a, b):
    low, high = sorted((a, b))
    assert CALIBRATION.expected_miou(low) <= CALIBRATION.expected_miou(high)
    assert 0.0 <= CALIBRATION.miou_lower(low) <= CALIBRATION.expected_miou(low)


def test_an_unknown_support_promises_nothing():
    assert math.isnan(CALIBRATION.expected_miou(math.nan))
    assert math.isnan(CALIBRATION.miou_lower(math.nan))


def test_the_bound_is_never_negative():
    assert replace(CALIBRATION, offset=0.5).miou_lower(0.1) == 0.0


def test_one_knot_is_a_constant():
    flat = replace(CALIBRATION, support=(0.2,), expected=(0.4,))
    assert {flat.expected_miou(s) for s in (0.0, 0.2, 5.0)} == {0.4}


def test_yaml_gives_it_back():
    text = yaml.safe_dump(calibration_to_dict(CALIBRATION))
    assert calibration_from_dict(yaml.safe_load(text)) == CALIBRATION


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"support": ()}, "knots"),
        ({"support": (0.1, 0.2)}, "knots"),
        ({"support": (0.1, 0.1, 0.4)}, "ascending"),
        ({"expected": (0.5, 0.2, 0.6)}, "non-decreasing"),
        ({"expected": (0.2, 0.5, math.nan)}, "finite"),
        ({"expected": (0.2, 0.5, 1.2)}, "0..1"),
        ({"offset": math.inf}, "finite offset"),
    ],
)
def test_an_impossible_calibration_is_refused(change, words):
    with pytest.raises(ConfigError, match=words):
        replace(CALIBRATION, **change)


def test_knots_may_come_as_numpy_numbers():
    fitted = replace(CALIBRATION, support=tuple(np.array([0.1, 0.2, 0.4])))
    assert fitted.expected_miou(0.2) == pytest.approx(0.5)
