"""streaks: the first fault of each kind is news, its repetitions are not."""

import pytest

from semla_ros.core.errors import EngineError, FrameError
from semla_ros.core.streaks import MAX_KINDS, QUIET_MS, Streaks, kind_of


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_values_in_a_message_do_not_make_another_kind():
    truncated = [FrameError(f"expected {n} bytes of 'rgb8', got {n - 1}") for n in (100, 2_000)]
    assert kind_of(truncated[0]) == kind_of(truncated[1])
    assert kind_of(truncated[0]) == "FrameError: expected # bytes of #, got #"
    assert kind_of(FrameError("unknown encoding 'a\\'b'")) == "FrameError: unknown encoding #"
    assert kind_of("no such layer") != kind_of(FrameError("no such layer"))


def test_a_new_kind_is_news_amid_a_streak_of_another(clock):
    streaks = Streaks(clock)
    news = []
    for number in range(200):
        error = FrameError(f"unknown encoding {number!r}" if number == 150 else f"got {number} B")
        news.append(streaks.begins("frame", error))
        clock.now += 33.0
    assert [i for i, first in enumerate(news) if first] == [0, 150]


def test_the_same_fault_at_another_stage_is_another_kind(clock):
    streaks = Streaks(clock)
    assert streaks.begins("frame", EngineError("failed"))
    assert streaks.begins("idle", EngineError("failed"))
    assert not streaks.begins("frame", EngineError("failed"))


def test_a_streak_ends_when_none_came_for_a_while(clock):
    streaks = Streaks(clock)
    assert streaks.begins("swap", "no memory")
    clock.now += QUIET_MS
    assert not streaks.begins("swap", "no memory")
    clock.now += QUIET_MS + 1
    assert streaks.begins("swap", "no memory")


def test_no_number_of_kinds_fills_the_log(clock):
    streaks = Streaks(clock)
    kinds = ["".join(chr(97 + int(d)) for d in str(n)) for n in range(1000)]
    assert sum(streaks.begins("frame", FrameError(k)) for k in kinds) == MAX_KINDS + 1
    assert len(streaks._last_ms) == MAX_KINDS + 1
