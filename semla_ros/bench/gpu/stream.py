"""Frames at the camera's rate while weights are swapped without a pause."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from semla_ros.bench.gpu.bench import GpuCheck, picture, weight_sets
from semla_ros.bench.gpu.rows import ENGINES, open_engine
from semla_ros.bench.measures import summary
from semla_ros.bench.record import Row
from semla_ros.engine.base import SegmentationEngine
from semla_ros.executors import lower_priority
from semla_ros.timing import now_ms
from semla_ros.types import WeightSet


def streams(check: GpuCheck) -> Iterator[Row]:
    """Yield frame latencies at the camera's rate, quiet and while swapping, of each engine."""
    for variant in ENGINES:
        with open_engine(check, variant) as engine:
            sets = weight_sets(check, engine.feature_dim or 1)
            engine.prepare(sets[0])
            engine.commit()
            for busy in (False, True):
                yield _streamed(check, engine, sets, variant=variant, busy=busy)


class _Preparer:
    """Prepares one set after the other on a patient thread, as the pipeline does."""

    def __init__(self, engine: SegmentationEngine, sets: tuple[WeightSet, WeightSet]) -> None:
        self.ready, self._taken = threading.Event(), threading.Event()
        self._stop = False
        self._engine, self._sets = engine, sets
        self._thread = threading.Thread(target=self._work, name="semla-swap")

    def start(self) -> None:
        self._thread.start()

    def take(self) -> None:
        """Let the next set be prepared."""
        self.ready.clear()
        self._taken.set()

    def stop(self) -> None:
        self._stop = True
        self._taken.set()
        self._thread.join()

    def _work(self) -> None:
        lower_priority()
        number = 0
        while not self._stop:
            number += 1
            self._engine.prepare(self._sets[number % 2])
            self.ready.set()
            self._taken.wait()
            self._taken.clear()


def _streamed(
    check: GpuCheck,
    engine: SegmentationEngine,
    sets: tuple[WeightSet, WeightSet],
    *,
    variant: str,
    busy: bool,
) -> Row:
    frame, period_ms = picture(check), 1000.0 / check.rate_hz
    preparer, committed = _Preparer(engine, sets), 0
    if busy:
        preparer.start()
    spent = []
    begun = now_ms()
    try:
        for number in range(max(1, int(check.seconds * check.rate_hz))):
            due = begun + number * period_ms
            time.sleep(max(0.0, (due - now_ms()) * 1e-3))
            started = now_ms()
            if busy and preparer.ready.is_set():
                engine.commit()
                preparer.take()
                committed += 1
            engine.infer(frame)
            spent.append(now_ms() - started)
    finally:
        if busy:
            preparer.stop()
    figures = {f"{name}_ms" if name != "count" else name: v for name, v in summary(spent).items()}
    return {
        "group": f"frame at {check.rate_hz:g} Hz",
        "variant": f"{variant}, {'swapping without a pause' if busy else 'quiet'}",
        **figures,
        "swaps": committed,
        "late_frames": sum(each > period_ms for each in spent),
    }
