"""The promise: a straight line within its range, bounded, and unharmed by the manifest."""

import logging
import math
from dataclasses import replace

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from semla_ros.core.errors import ConfigError
from semla_ros.core.mask_signals import SIGNALS
from semla_ros.core.support_calibration import (
    SignalTerm,
    SupportCalibration,
    SupportSettings,
    calibration_from_dict,
    calibration_to_dict,
)

SETTINGS = SupportSettings(0.05, 5, "euclidean", "inverse", -1.0)
TERMS = (
    SignalTerm("confidence", 0.5, 0.1, 0.02, 0.2, 0.9),
    SignalTerm("class_confidence", 0.4, 0.2, -0.01, 0.1, 0.9),
    SignalTerm("class_entropy", 1.0, 0.5, 0.1, 0.0, 2.0),
    SignalTerm("classes", 5.0, 2.0, 0.04, 1.0, 9.0),
)
CALIBRATION = SupportCalibration(
    terms=TERMS,
    intercept=0.4,
    offset=0.15,
    target=0.9,
    coverage=0.91,
    worst_coverage=0.8,
    error=0.04,
    errors={"the plain mean": 0.07},
    frames=300,
    domains=("fog", "night"),
    settings=SETTINGS,
    made_by="a test",
)
MEANS = (0.5, 0.4, 1.0, 5.0)
SIGNAL = st.floats(-3, 12, allow_nan=False)


def test_by_hand():
    assert CALIBRATION.promise(MEANS) == (0.4, pytest.approx(0.25))
    expected = 0.4 + 0.02 * 2 - 0.01 * 1 + 0.1 * -2 + 0.04 * 0.5
    found = CALIBRATION.promise((0.7, 0.6, 0.0, 6.0))
    assert found == (pytest.approx(expected), pytest.approx(expected - 0.15))


@given(st.tuples(SIGNAL, SIGNAL, SIGNAL, SIGNAL), st.floats(-5, 5), st.floats(0, 2))
def test_the_bound_lies_below_the_expectation_and_both_in_0_to_1(signals, intercept, offset):
    expected, lower = replace(CALIBRATION, intercept=intercept, offset=offset).promise(signals)
    inside = all(t.low <= v <= t.high for t, v in zip(TERMS, signals, strict=True))
    if inside:
        assert 0.0 <= lower <= expected <= 1.0
    else:
        assert math.isnan(expected)
        assert lower == 0.0


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("beyond", ["below", "above", "unknown"])
def test_nothing_is_promised_outside_the_range_of_the_fit(place, beyond):
    edge = {"below": TERMS[place].low, "above": TERMS[place].high, "unknown": math.nan}[beyond]
    within = [*MEANS]
    within[place] = edge
    outside = [*MEANS]
    outside[place] = edge + {"below": -1e-6, "above": 1e-6, "unknown": 0.0}[beyond]
    if beyond != "unknown":
        assert not math.isnan(CALIBRATION.promise(within)[0])
    expected, lower = CALIBRATION.promise(outside)
    assert math.isnan(expected)
    assert lower == 0.0


def test_numbers_that_overflow_promise_nothing():
    steep = replace(TERMS[0], scale=1e-300, coefficient=1e300)
    expected, lower = replace(CALIBRATION, terms=(steep, *TERMS[1:])).promise((0.7, *MEANS[1:]))
    assert math.isnan(expected)
    assert lower == 0.0


def test_yaml_gives_it_back():
    text = yaml.safe_dump(calibration_to_dict(CALIBRATION))
    assert calibration_from_dict(yaml.safe_load(text)) == CALIBRATION


def test_a_calibration_of_the_old_form_is_left_aside_and_said(caplog):
    old = {"support": [0.1, 0.2], "expected": [0.2, 0.5], "offset": 0.1}
    with caplog.at_level(logging.WARNING):
        assert calibration_from_dict(old) is None
    (record,) = caplog.records
    assert "left aside" in record.message
    assert "--write-calibration" in record.message


def changed(place, **change):
    terms = list(TERMS)
    terms[place] = replace(terms[place], **change)
    return {"terms": tuple(terms)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"terms": ()}, "signals"),
        ({"terms": TERMS[:3]}, "signals"),
        ({"terms": TERMS[::-1]}, "signals"),
        (changed(1, name="support"), "this version"),
        (changed(0, scale=0.0), "positive scales"),
        (changed(0, scale=-1.0), "positive scales"),
        (changed(2, low=3.0), "low <= high"),
        (changed(2, coefficient=math.nan), "finite"),
        (changed(3, high=math.inf), "finite"),
        (changed(3, mean="5"), "finite"),
        (changed(3, mean=True), "finite"),
        ({"intercept": None}, "finite"),
        ({"offset": math.inf}, "finite"),
        ({"offset": -0.1}, "offset of 0 or more"),
    ],
)
def test_an_impossible_calibration_is_refused(change, words):
    with pytest.raises(ConfigError, match=words):
        replace(CALIBRATION, **change)


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.pop("terms"),
        lambda d: d.update(terms=[{"name": "confidence"}]),
        lambda d: d.update(terms=3),
        lambda d: d["terms"][0].update(extra=1),
        lambda d: d.update(errors=["a"]),
        lambda d: d.update(settings=None),
        lambda d: d.update(unknown=1),
    ],
)
def test_a_damaged_entry_raises_what_the_manifest_reports(damage):
    data = calibration_to_dict(CALIBRATION)
    damage(data)
    with pytest.raises((LookupError, TypeError, ValueError, AttributeError, ConfigError)):
        calibration_from_dict(data)


def test_signals_may_come_as_numpy_numbers():
    expected, _ = CALIBRATION.promise(np.array(MEANS))
    assert expected == pytest.approx(0.4)
    assert len(SIGNALS) == len(TERMS)
