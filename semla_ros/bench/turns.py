"""Ways to do the same thing, timed in turns in one process; nothing is trimmed.

Taking turns, a machine that slows down slows all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from semla_ros.core.timing import now_ms, processor_ms
from semla_ros.core.types import Float64Array

_T = TypeVar("_T")


def in_turns(
    ways: Mapping[str, Callable[[_T], object]], inputs: Sequence[_T], *, warm_up: int = 1
) -> dict[str, Float64Array]:
    """Return way -> (R, 2) ms of each call: on the wall, and of the processor in all threads.

    Processor time knows nothing of other programs.

    Args:
        ways: Called with one input after the other, each way in its turn.
        inputs: R + `warm_up`; the first `warm_up` are not counted.
        warm_up: How many calls of each way come before.
    """
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for each in inputs:
        for name, way in ways.items():
            began, busy = now_ms(), processor_ms()
            way(each)
            taken[name].append((now_ms() - began, processor_ms() - busy))
    return {name: np.array(spent[warm_up:]).reshape(-1, 2) for name, spent in taken.items()}


def timed(call: Callable[[], object], runs: int, *, warm_up: int = 1) -> Float64Array:
    """Return (`runs`, 2) ms of one way alone, see `in_turns`."""
    return in_turns({"": lambda _: call()}, range(warm_up + runs), warm_up=warm_up)[""]
