"""Parameters: declared once, checked everywhere, with a reason when refused."""

import math
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semla_ros.core.config import PARAMETERS, Config, updated
from semla_ros.core.errors import ConfigError

NUMBERS = [p for p in PARAMETERS.values() if type(p.default) in (int, float)]
each = pytest.mark.parametrize("spec", PARAMETERS.values(), ids=lambda p: p.name)


@each
def test_every_parameter_is_documented_and_its_default_is_allowed(spec):
    assert len(spec.doc) > 10
    assert "\n" not in spec.doc
    assert spec.checked(spec.default) == spec.default


@each
@pytest.mark.parametrize("value", [None, [1], {"a": 1}, object()])
def test_no_parameter_takes_other_things(spec, value):
    with pytest.raises(ConfigError, match=repr(spec.name)):
        spec.checked(value)


@pytest.mark.parametrize("spec", NUMBERS, ids=lambda p: p.name)
def test_every_number_is_bounded(spec):
    low, high = spec.minimum, spec.maximum
    assert low is not None
    assert high is not None
    assert spec.checked(type(spec.default)(low)) == low
    for outside in (low - 1, high + 1):
        with pytest.raises(ConfigError, match=spec.name):
            spec.checked(type(spec.default)(outside))
    with pytest.raises(ConfigError, match=spec.name):
        spec.checked(True)


@pytest.mark.parametrize(
    "spec", [p for p in NUMBERS if isinstance(p.default, float)], ids=lambda p: p.name
)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_number_is_nan_or_infinite(spec, value):
    with pytest.raises(ConfigError, match=spec.name):
        spec.checked(value)


@given(value=st.integers(0, 60))
def test_whole_numbers_are_fine_where_fractions_are_expected(value):
    assert PARAMETERS["ema_time_s"].checked(value) == float(value)
    assert isinstance(PARAMETERS["ema_time_s"].checked(value), float)


def test_fractions_are_not_fine_where_whole_numbers_are_expected():
    with pytest.raises(ConfigError, match=r"expected int, got 2\.0"):
        PARAMETERS["top_k"].checked(2.0)


@pytest.mark.parametrize(
    "spec", [p for p in PARAMETERS.values() if p.choices], ids=lambda p: p.name
)
def test_a_choice_is_one_of_them(spec):
    assert spec.default in spec.choices
    for choice in spec.choices:
        assert spec.checked(choice) == choice
    with pytest.raises(ConfigError, match="expected one of"):
        spec.checked("something else")


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="unknown parameter 'temprature'; did you mean 'temper"):
        updated(Config(), {"temprature": 1.0})
    with pytest.raises(ConfigError, match=r"unknown parameter 'zzz'$"):
        updated(Config(), {"zzz": 1})


def test_an_update_is_a_new_configuration():
    before = Config()
    after = updated(before, {"top_k": 3, "ema_time_s": 2})
    assert (after.top_k, after.ema_time_s) == (3, 2.0)
    assert before == Config()


@pytest.mark.parametrize(
    "changes", [{"swap_release": 0.5}, {"swap_trigger": 0.1}, {"top_k": -1}, {"engine": "cuda"}]
)
def test_a_wrong_update_changes_nothing(changes):
    with pytest.raises(ConfigError, match=next(iter(changes)).split("_")[0]):
        updated(Config(), changes)


def test_thresholds_may_move_together():
    config = updated(Config(), {"swap_trigger": 0.1, "swap_release": 0.05})
    assert (config.swap_trigger, config.swap_release) == (0.1, 0.05)


def test_the_constructor_checks_too():
    with pytest.raises(ConfigError, match="navigator_rate_hz"):
        Config(navigator_rate_hz=-1.0)


@pytest.mark.parametrize(
    ("text", "names"),
    [("", set()), ("idd", {"idd"}), (" idd , bdd,,", {"idd", "bdd"}), (",", set())],
)
def test_excluded_names(text, names):
    assert Config(exclude=text).excluded == names


def test_the_table_is_the_class():
    assert list(PARAMETERS) == [f.name for f in fields(Config)]
