"""Durations: monotonic, added up by name, kept when a stage fails."""

import time

import pytest

from semla_ros.core.timing import StageTimer, now_ms


def test_the_clock_counts_milliseconds():
    around, start = time.monotonic(), now_ms()
    time.sleep(0.02)
    assert 15 <= now_ms() - start <= 1000 * (time.monotonic() - around) + 1


def test_stages_are_named_and_in_order():
    timer = StageTimer()
    with timer.stage("infer"):
        time.sleep(0.005)
    with timer.stage("publish"):
        pass
    assert list(timer.durations_ms) == ["infer", "publish"]
    assert timer.durations_ms["infer"] >= 4
    assert timer.durations_ms["publish"] >= 0


def test_the_same_stage_adds_up():
    timer = StageTimer()
    for _ in range(2):
        with timer.stage("infer"):
            time.sleep(0.005)
    assert timer.durations_ms["infer"] >= 8


def test_a_failed_stage_still_counts():
    timer = StageTimer()
    with pytest.raises(ValueError, match="broken"), timer.stage("infer"):
        raise ValueError("broken")
    assert "infer" in timer.durations_ms
