"""Swap policies: one contract over the dict, and the debounce never swaps early."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semla_ros.core.config import PARAMETERS, Config
from semla_ros.core.errors import ConfigError
from semla_ros.core.types import BASE, AdapterMix
from semla_ros.navigator.swap_policy import SWAP_POLICIES, DebouncePolicy

S = 1_000_000_000
ACTIVE = AdapterMix.base_only()
LARGE, MIDDLE, SMALL = 0.9, 0.2, 0.05
TINY = 2.0**-20  # a binary fraction, so that differences of mixes come out exactly


def mix(difference):
    """Return a mix that differs from ACTIVE by `difference`."""
    return AdapterMix.from_weights({BASE: 1 - difference, "fog": difference})


def debounce(**changes):
    options = {
        "trigger": 0.3,
        "release": 0.15,
        "trigger_consecutive": 3,
        "release_consecutive": 2,
        "min_dwell_s": 1.0,
        **changes,
    }
    return DebouncePolicy(**options)


def decisions(policy, differences, *, step_ns=S, active=ACTIVE):
    return [
        policy.decide(mix(d), active, i * step_ns) is not None for i, d in enumerate(differences)
    ]


@pytest.mark.parametrize("name", sorted(SWAP_POLICIES))
@given(differences=st.lists(st.floats(0, 1), max_size=30))
def test_every_policy_returns_what_is_wanted_or_nothing(name, differences):
    policy = SWAP_POLICIES[name](Config())
    for i, difference in enumerate(differences):
        wanted = mix(difference)
        got = policy.decide(wanted, ACTIVE, i * S)
        assert got in (None, wanted)
        if got is not None:
            assert wanted.difference(ACTIVE) >= 1e-3
            assert policy.wanted_since_ns <= i * S


@pytest.mark.parametrize("name", sorted(SWAP_POLICIES))
@given(differences=st.lists(st.floats(0, 1), max_size=30))
def test_every_policy_decides_the_same_again_after_reset(name, differences):
    policy = SWAP_POLICIES[name](Config())
    first = decisions(policy, differences)
    policy.reset()
    assert policy.wanted_since_ns is None
    assert decisions(policy, differences) == first


@pytest.mark.parametrize("name", sorted(SWAP_POLICIES))
def test_no_policy_swaps_to_what_is_active(name):
    policy = SWAP_POLICIES[name](Config(swap_trigger=0.0, swap_release=0.0))
    assert not any(decisions(policy, [0.0] * 20))


@given(
    differences=st.lists(st.sampled_from([LARGE, MIDDLE, SMALL, 0.3, 0.15]), max_size=60),
    steps=st.lists(st.integers(0, S), min_size=60, max_size=60),
    needed=st.integers(1, 5),
    released=st.integers(1, 3),
    dwell=st.sampled_from([0.0, 0.5, 2.0]),
)
def test_debounce_is_never_early(differences, steps, needed, released, dwell):
    policy = debounce(trigger_consecutive=needed, release_consecutive=released, min_dwell_s=dwell)
    stamp, swaps, since = 0, [], 0
    for i, (difference, step) in enumerate(zip(differences, steps, strict=False)):
        stamp += step
        if policy.decide(mix(difference), ACTIVE, stamp) is None:
            continue
        run = differences[since : i + 1]
        assert difference >= 0.3
        assert sum(d >= 0.3 for d in run) >= needed
        tail = run[::-1]
        for end in range(len(tail) - released + 1):
            if all(d < 0.15 for d in tail[end : end + released]):
                assert sum(d >= 0.3 for d in tail[:end]) >= needed
                break
        assert not swaps or stamp - swaps[-1] >= dwell * S
        swaps.append(stamp)
        since = i + 1


def test_it_swaps_at_the_third_observation():
    assert decisions(debounce(), [LARGE] * 3) == [False, False, True]


def test_one_is_no_debounce():
    assert decisions(debounce(trigger_consecutive=1), [LARGE]) == [True]


def test_the_threshold_itself_triggers():
    policy = debounce(trigger=0.25, trigger_consecutive=1)
    assert decisions(policy, [0.25 - TINY, 0.25]) == [False, True]


def test_the_release_itself_does_not_end_the_run():
    released = [LARGE, LARGE, 0.125, 0.125, LARGE]
    assert decisions(debounce(release=0.125), released)[-1]
    released[2:4] = 0.125 - TINY, 0.125 - TINY
    assert not decisions(debounce(release=0.125), released)[-1]


def test_the_same_stamp_again_is_no_step_back():
    assert decisions(debounce(), [LARGE] * 3, step_ns=0) == [False, False, True]


def test_thresholds_may_be_the_whole_range():
    assert decisions(debounce(trigger=1.0, release=1.0, trigger_consecutive=1), [1.0]) == [True]


def test_one_observation_below_the_release_does_not_end_the_run():
    assert decisions(debounce(), [LARGE, LARGE, SMALL, LARGE]) == [False, False, False, True]


def test_two_in_a_row_end_it():
    outcome = decisions(debounce(), [LARGE, LARGE, SMALL, SMALL, LARGE, LARGE, LARGE])
    assert outcome == [False] * 6 + [True]


def test_between_the_thresholds_nothing_counts_and_nothing_ends():
    differences = [LARGE, LARGE, SMALL, MIDDLE, SMALL, MIDDLE, LARGE]
    assert decisions(debounce(), differences) == [False] * 6 + [True]


def test_the_dwell_is_sensor_time():
    policy = debounce(min_dwell_s=2.0)
    outcome = decisions(policy, [LARGE] * 12, step_ns=S // 2)
    assert [i for i, swapped in enumerate(outcome) if swapped] == [2, 6, 10]


def test_the_first_swap_needs_no_dwell():
    assert decisions(debounce(min_dwell_s=3600.0), [LARGE] * 3)[-1]


def test_a_step_back_in_time_forgets_everything():
    policy = debounce(min_dwell_s=100.0)
    assert decisions(policy, [LARGE] * 3) == [False, False, True]
    assert decisions(policy, [LARGE] * 3) == [False, False, True]


def test_the_detection_starts_with_the_run():
    policy = debounce()
    stamps = []
    for i, difference in enumerate([SMALL, LARGE, SMALL, LARGE, LARGE, SMALL, LARGE]):
        policy.decide(mix(difference), ACTIVE, i)
        stamps.append(policy.wanted_since_ns)
    assert stamps == [None, 1, 1, 1, 1, None, 6]


def test_a_run_that_ended_has_no_start():
    policy = debounce()
    for i, difference in enumerate([LARGE, SMALL, SMALL]):
        policy.decide(mix(difference), ACTIVE, i)
    assert policy.wanted_since_ns is None


def test_always_follows_every_change_and_never_none():
    differences = [0.0, 0.0005, 0.002, 0.5]
    always, never = (SWAP_POLICIES[n](Config()) for n in ("always", "never"))
    assert always.wanted_since_ns is None
    assert decisions(always, differences) == [False, False, True, True]
    assert always.wanted_since_ns == 3 * S
    assert decisions(always, [0.0]) == [False]
    assert always.wanted_since_ns is None
    assert not any(decisions(never, differences))


def test_the_configuration_reaches_the_debounce():
    config = replace(Config(), trigger_consecutive=5, swap_trigger=0.6, min_dwell_s=0.0)
    policy = SWAP_POLICIES["debounce"](config)
    assert decisions(policy, [0.61] * 5) == [False] * 4 + [True]
    assert not any(decisions(policy, [0.59] * 9))


@pytest.mark.parametrize(
    "bad",
    [
        {"release": 0.4},
        {"trigger": 1.5},
        {"release": math.nan},
        {"trigger_consecutive": 0},
        {"release_consecutive": 0},
        {"min_dwell_s": -1.0},
        {"min_dwell_s": math.nan},
    ],
)
def test_impossible_settings_are_refused(bad):
    with pytest.raises(ConfigError, match="expected"):
        debounce(**bad)


def test_the_configuration_offers_what_exists():
    assert set(PARAMETERS["swap_policy"].choices) == set(SWAP_POLICIES)


def test_what_was_announced_needs_no_second_look():
    policy = debounce()
    assert policy.decide(mix(MIDDLE), ACTIVE, 0, announced=True) is None, "below the trigger"
    assert policy.decide(mix(LARGE), ACTIVE, S, announced=True) == mix(LARGE)
    assert policy.decide(mix(LARGE), ACTIVE, S + S // 2, announced=True) is None, "dwell holds"
    assert policy.decide(mix(LARGE), ACTIVE, 2 * S, announced=True) == mix(LARGE)
    never = SWAP_POLICIES["never"](Config())
    assert never.decide(mix(LARGE), ACTIVE, 0, announced=True) is None
