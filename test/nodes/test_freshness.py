"""How fresh images are, by a node's clock and a steady one that are set by hand."""

import pytest

from semla_ros.core.errors import FrameTooOldError
from semla_ros.nodes.freshness import Freshness

S = 1_000_000_000


class Clocks:
    """A node's clock and a steady one; both go on together unless told otherwise."""

    def __init__(self, *, simulated):
        self.ros_time_is_active = simulated
        self.nanoseconds = 100 * S
        self.steady_s = 7.0

    def now(self):
        return self

    def steady_ms(self):
        return self.steady_s * 1e3

    def go(self, steady_s, node_s=None):
        self.steady_s += steady_s
        self.nanoseconds += round((steady_s if node_s is None else node_s) * S)


@pytest.fixture(params=[False, True], ids=["real", "simulated"])
def clocks(request):
    return Clocks(simulated=request.param)


def fresh(clocks):
    return Freshness(clocks, steady_ms=clocks.steady_ms)


def test_silence_is_from_the_start_or_the_newest_usable_image(clocks):
    freshness = fresh(clocks)
    clocks.go(2.0)
    assert freshness.silence_s() == pytest.approx(2.0)
    freshness.answered()
    clocks.go(0.5)
    assert freshness.silence_s() == pytest.approx(0.5)
    clocks.go(0.25)
    assert freshness.silence_s() == pytest.approx(0.75)


@pytest.mark.parametrize("pace", [0.1, 20.0])
def test_silence_keeps_to_simulated_time_while_it_goes_on(pace):
    clocks = Clocks(simulated=True)
    freshness = fresh(clocks)
    clocks.go(1.0, pace)
    assert freshness.silence_s() == pytest.approx(pace)


def test_simulated_time_that_stands_still_ends_no_silence():
    clocks = Clocks(simulated=True)
    freshness = fresh(clocks)
    clocks.go(1.0, 0.5)
    assert freshness.silence_s() == pytest.approx(0.5)
    clocks.go(1.0, 0.0)
    assert freshness.silence_s() == pytest.approx(2.0)


def test_simulated_time_that_steps_back_ends_no_silence():
    clocks = Clocks(simulated=True)
    freshness = fresh(clocks)
    clocks.go(3.0, -60.0)
    assert freshness.silence_s() == pytest.approx(3.0)
    clocks.go(1.0, 1.0)
    assert freshness.silence_s() == pytest.approx(4.0)


@pytest.mark.parametrize("step_s", [-3600.0, 3600.0])
def test_a_machine_whose_clock_is_set_says_nothing_of_silence(step_s):
    clocks = Clocks(simulated=False)
    freshness = fresh(clocks)
    clocks.go(1.0, step_s)
    assert freshness.silence_s() == pytest.approx(1.0)


def test_age_is_of_the_stamp_by_the_nodes_clock(clocks):
    freshness = fresh(clocks)
    assert freshness.age_s(98 * S) == pytest.approx(2.0)
    clocks.go(0.0, 1.0)
    assert freshness.age_s(98 * S) == pytest.approx(3.0), "an old answer is never fresh"
    assert freshness.age_s(102 * S) == pytest.approx(-1.0), "stamped ahead"


def test_there_is_no_age_before_simulated_time():
    clocks = Clocks(simulated=True)
    clocks.nanoseconds = 0
    freshness = fresh(clocks)
    assert freshness.age_s(98 * S) is None
    freshness.require(98 * S, max_age_s=0.1)


def test_an_image_without_a_stamp_has_no_age(clocks):
    freshness = fresh(clocks)
    assert freshness.age_s(0) is None
    freshness.require(0, max_age_s=0.0)
    with pytest.raises(FrameTooOldError, match="without a stamp"):
        freshness.require(0, max_age_s=1.0)


def test_old_images_are_refused_where_an_age_is_set(clocks):
    freshness = fresh(clocks)
    freshness.require(1, max_age_s=0.0)
    freshness.require(99 * S, max_age_s=1.0)
    with pytest.raises(FrameTooOldError, match=r"at most 1 s old, got 1\.500 s"):
        freshness.require(98 * S + S // 2, max_age_s=1.0)


def test_a_cycle_is_from_one_usable_image_to_the_next(clocks):
    freshness = fresh(clocks)
    clocks.go(5.0)
    assert freshness.answered() is None, "nothing came before the first"
    clocks.go(0.2, 9.0)
    assert freshness.answered() == pytest.approx(0.2)
