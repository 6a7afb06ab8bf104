"""The network alone in this process: what the node's overhead is measured against."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice

from semla_ros.core.config import Config, updated
from semla_ros.core.timing import now_ms
from semla_ros.core.types import UInt8Array
from semla_ros.pipeline import AdaptivePipeline, build_pipeline


@dataclass(frozen=True, slots=True)
class Bare:
    """The engine that the node uses, without ROS.

    Attributes:
        engine: Its name.
        adapters: Names in the bundle's library.
    """

    pipeline: AdaptivePipeline

    @property
    def engine(self) -> str:
        """Name of the engine."""
        return self.pipeline.engine.facts.name

    @property
    def adapters(self) -> tuple[str, ...]:
        """Adapters of the bundle's library."""
        return self.pipeline.library.names

    def durations_ms(
        self, frames: Sequence[UInt8Array], *, hz: float, seconds: float
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
            self.pipeline.engine.infer(rgb)
            durations.append(now_ms() - before)
        return durations


@contextmanager
def bare_engine(changes: Mapping[str, object]) -> Iterator[Bare]:
    """Open the engine as the node's parameters `changes` have it.

    Raises:
        SemlaError: Bundle or engine cannot be used.
    """
    fixed = {"adaptation": "inline", "swap_policy": "never"}
    with build_pipeline(updated(Config(), dict(changes) | fixed)) as pipeline:
        yield Bare(pipeline)
