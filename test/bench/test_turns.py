"""Ways take turns, and both clocks are read."""

import time

from semla_ros.bench.turns import in_turns, timed


def test_ways_take_turns_and_the_warm_up_is_not_counted():
    called = []
    ways = {name: lambda value, name=name: called.append((name, value)) for name in "ab"}
    taken = in_turns(ways, [1, 2, 3], warm_up=1)
    assert called == [(name, value) for value in (1, 2, 3) for name in "ab"]
    assert {name: spent.shape for name, spent in taken.items()} == {"a": (2, 2), "b": (2, 2)}


def test_sleep_is_on_the_wall_and_work_on_both_clocks():
    wall, cpu = timed(lambda: time.sleep(0.02), 3).T
    assert wall.min() >= 20
    assert cpu.max() < 15
    wall, cpu = timed(lambda: sum(range(300_000)), 3).T
    assert 0 < cpu.min() <= wall.max() + 1
