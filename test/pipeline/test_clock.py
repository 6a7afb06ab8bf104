"""Stamps of real cameras become a time that filter, policy and navigator can rely on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semla_ros.pipeline.clock import FrameClock

HZ = 10
PERIOD = 1_000_000_000 // HZ
S = 1_000_000_000
START = 1_700_000_000 * S


def run(stamps, *, arrivals=None):
    clock = FrameClock(5.0, max_late_s=2.0)
    arrivals = arrivals or [i * PERIOD for i in range(len(stamps))]
    return clock, [clock.at(s, a) for s, a in zip(stamps, arrivals, strict=True)]


def steady(count, start=START):
    return [start + i * PERIOD for i in range(count)]


def times(instants):
    return [instant.time_ns for instant in instants]


def test_sound_stamps_are_the_streams_time():
    clock, instants = run(steady(100))
    assert times(instants) == steady(100)
    assert all(i.judged and not i.doubtful and not i.restarted for i in instants)
    assert clock.report.unusable == ""
    assert clock.report.late == clock.report.restarts == 0


@given(st.lists(st.integers(-20 * S, 20 * S), min_size=1, max_size=60), st.booleans())
def test_time_steps_back_only_where_the_stream_starts_anew(steps, arrive):
    clock, stamp, before = FrameClock(5.0, max_late_s=2.0), START, None
    for number, step in enumerate(steps):
        stamp += step
        instant = clock.at(stamp, number * PERIOD if arrive else None)
        assert before is None or instant.restarted or instant.time_ns >= before
        before = instant.time_ns


@pytest.mark.parametrize("stamp", [0, -S, START])
def test_stamps_that_stand_still_give_way_to_arrival(stamp, caplog):
    clock, instants = run([stamp] * 100)
    assert "header stamps" in clock.report.unusable
    assert times(instants)[-1] - times(instants)[10] == 89 * PERIOD
    assert clock.report.by_arrival >= 90
    assert caplog.text.count("arrival time is used instead") == 1


def test_stamps_of_a_wrong_unit_give_way_to_arrival():
    slow, _ = run([START + i * PERIOD // 1000 for i in range(60)])
    fast, _ = run([START + i * PERIOD * 1000 for i in range(60)])
    assert "advance 0.001 s a second" in slow.report.unusable
    assert "jump" in fast.report.unusable


def test_falling_stamps_give_way_to_arrival():
    clock, instants = run(steady(60)[::-1])
    assert clock.report.unusable
    assert times(instants) == sorted(times(instants))


def test_sound_stamps_are_used_again_and_nothing_starts_anew():
    stamps = [0] * 20 + steady(100)
    clock, instants = run(stamps)
    assert clock.report.unusable == ""
    assert clock.report.restarts == 0
    assert times(instants) == sorted(times(instants))
    assert times(instants)[-1] - times(instants)[-11] == 10 * PERIOD


def test_every_second_stamp_ahead_keeps_the_stream_and_half_its_frames():
    stamps = [s + (i % 2) * 300_000_000 for i, s in enumerate(steady(100))]
    clock, instants = run(stamps)
    assert clock.report.restarts == 0
    assert clock.report.unusable == ""
    assert sum(i.judged for i in instants) >= 50
    assert not any(i.doubtful for i in instants)


def test_every_tenth_stamp_late_costs_only_those_frames():
    stamps = [s - (i % 10 == 9) * 150_000_000 for i, s in enumerate(steady(100))]
    clock, instants = run(stamps)
    assert [n for n, i in enumerate(instants) if not i.judged] == list(range(9, 100, 10))
    assert clock.report.late == 10
    assert clock.report.restarts == 0


def test_a_clock_set_back_a_little_is_followed_without_a_restart():
    stamps = [*steady(20), *steady(20, START + 19 * PERIOD - 3 * S // 2)]
    clock, instants = run(stamps)
    assert clock.report.restarts == 0
    assert clock.report.late == 2
    assert times(instants)[-1] == times(instants)[-2] + PERIOD
    assert sum(not i.judged for i in instants) == 2


@pytest.mark.parametrize("jump_s", [-60, -4, 60])
def test_a_real_jump_starts_anew_at_its_second_frame(jump_s):
    second = steady(5, START + jump_s * S)
    clock, instants = run([*steady(5), *second])
    assert instants[5].doubtful
    assert not instants[5].judged
    assert not instants[5].restarted
    assert instants[6].restarted
    assert instants[6].time_ns == second[1]
    assert clock.report.restarts == 1


@pytest.mark.parametrize("gap_s", [5.0, 5.000000001])
def test_the_longest_gap_is_still_the_same_stream(gap_s):
    late = START + round(gap_s * S)
    _, instants = run([START, late, late + PERIOD], arrivals=[0, PERIOD, 2 * PERIOD])
    assert instants[1].doubtful is (gap_s > 5.0)


def test_one_wild_stamp_is_passed_over():
    stamps = steady(30)
    stamps[10] += 1000 * S
    clock, instants = run(stamps)
    assert [n for n, i in enumerate(instants) if i.doubtful] == [10]
    assert clock.report.restarts == 0
    assert clock.report.doubtful == 1


def test_two_cameras_with_clocks_far_apart_go_by_arrival():
    stamps = [s + (i % 2) * 100 * S for i, s in enumerate(steady(60))]
    clock, instants = run(stamps)
    assert clock.report.unusable == "header stamps jump or are empty"
    assert all(i.judged for i in instants[25:])


def test_single_empty_stamps_are_passed_over_without_doubt():
    stamps = steady(50)
    stamps[::10] = [0] * 5
    stamps[0] = START
    clock, instants = run(stamps)
    assert clock.report.unusable == ""
    assert clock.report.restarts == 0
    assert not any(i.doubtful for i in instants)


@pytest.mark.parametrize("stamps", [steady(20), [0] * 20])
def test_a_pause_is_time_that_passed(stamps):
    last = stamps[-1] + 100 * S if stamps[-1] else 0
    arrivals = [*(i * PERIOD for i in range(20)), 19 * PERIOD + 100 * S]
    _, instants = run([*stamps, last], arrivals=arrivals)
    assert times(instants)[-1] - times(instants)[-2] == 100 * S
    assert instants[-1].judged
    assert not instants[-1].doubtful
    assert not instants[-1].restarted


def test_frames_that_do_not_arrive_are_judged_by_their_stamps():
    clock = FrameClock(5.0, max_late_s=2.0)
    assert [clock.at(s).time_ns for s in (0, 0, 0, PERIOD)] == [0, 0, 0, PERIOD]
    assert clock.report.unusable == ""
