"""The network alone in this process: what the node's overhead is measured against."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import cycle, islice

from semla_ros.core.timing import now_ms
from semla_ros.core.types import UInt8Array
from semla_ros.engine.contract import SegmentationEngine


def paced_ms(
    engine: SegmentationEngine, frames: Sequence[UInt8Array], *, hz: float, seconds: float
) -> list[float]:
    """Return how long the engine took for each frame, at the pace at which the node gets them.

    The pace matters: after a pause caches are cold and the processor clocks down.
    """
    durations = []
    count, start = max(3, round(hz * seconds)), time.monotonic()
    for index, rgb in enumerate(islice(cycle(frames), count)):
        left = start + index / hz - time.monotonic()
        if left > 0:
            time.sleep(left)
        before = now_ms()
        engine.infer(rgb)
        durations.append(now_ms() - before)
    return durations
