"""Named stage durations; the only wall clock of the core."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


def now_ms() -> float:
    """Return a monotonic wall clock in milliseconds; only differences mean anything."""
    return time.perf_counter_ns() * 1e-6


def wall_ns() -> int:
    """Return the machine's clock as file systems stamp with it, ns since 1970; it may jump."""
    return time.time_ns()


def processor_ms() -> float:
    """Return the processor time of this process in milliseconds, all threads; use differences."""
    return time.process_time_ns() * 1e-6


class StageTimer:
    """Collects the durations of one frame's stages.

    Example: `with timer.stage("infer"): ...` adds to `timer.durations_ms["infer"]`.
    """

    def __init__(self) -> None:
        self.durations_ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to the stage `name`."""
        start = now_ms()
        try:
            yield
        finally:
            self.durations_ms[name] = self.durations_ms.get(name, 0.0) + now_ms() - start
