"""Candidates that swap and segment in turns, interleaved in one process, and their times."""

from __future__ import annotations

import gc
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice

import numpy as np

from semla_ros.bench.candidates import Candidate, Material
from semla_ros.bench.resources import peak_growth, resident_mib
from semla_ros.core.errors import SemlaError
from semla_ros.core.executors import BackgroundExecutor
from semla_ros.core.timing import now_ms, processor_ms
from semla_ros.core.types import AdapterMix, Float64Array, UInt8Array

_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class Measures:
    """What one candidate did, over all rounds.

    Attributes:
        ready_ms: From asking for a mix to serving it, nothing else running.
        ready_cpu_ms: The same in processor time, which other programs do not spoil.
        quiet_ms: Frames without a swap.
        during_ms: Frames that overlap a swap, the wait for it included.
        stall_ms: Waits for commits while frames flowed.
        swaps: Swaps while frames flowed.
        difference: Largest |logit - logit of ours| over mixes.
        held_mib: Resident memory that opening it and serving two mixes added.
        peak_mib: More than that at most while swapping.
    """

    ready_ms: list[float] = field(default_factory=list)
    ready_cpu_ms: list[float] = field(default_factory=list)
    quiet_ms: list[float] = field(default_factory=list)
    during_ms: list[float] = field(default_factory=list)
    stall_ms: list[float] = field(default_factory=list)
    swaps: int = 0
    difference: float = math.nan
    held_mib: float = math.nan
    peak_mib: float = 0.0


class SwapSession:
    """Candidates that are open, and what they did so far."""

    def __init__(
        self,
        openers: Mapping[str, Callable[[Material], Candidate]],
        material: Material,
        frames: Sequence[UInt8Array],
        mixes: tuple[AdapterMix, ...],
        count: int,
    ) -> None:
        self.mixes = mixes
        self.names: dict[str, tuple[str, str]] = {}
        self.measures: dict[str, Measures] = {}
        self.skipped: dict[str, str] = {}
        self._openers = openers
        self._material = material
        self._frames = frames
        self._count = count
        self._open: dict[str, Candidate] = {}
        self._reference: list[Float64Array] = []

    def turn(self, key: str) -> None:
        """Let candidate `key` have its turn, unless it was refused before."""
        if key in self.skipped:
            return
        measures = self.measures.setdefault(key, Measures())
        if key not in self._open:
            try:
                self._open[key] = self._opened(key, measures)
            except (SemlaError, ImportError) as error:
                self.skipped[key] = str(error)
                _LOG.warning("%s is left out: %s", key, error)
                return
        candidate = self._open[key]
        if key not in self.names:
            self.names[key] = (candidate.name, candidate.runtime)
            self._compare(candidate, measures)
        self._turn(candidate, measures)

    def close(self) -> None:
        """Close what is open."""
        for each in self._open.values():
            each.close()
        self._open.clear()
        gc.collect()

    def _opened(self, key: str, measures: Measures) -> Candidate:
        gc.collect()
        before = resident_mib()
        candidate = self._openers[key](self._material)
        for mix in self.mixes[:2]:
            candidate.prepare(mix)
            candidate.commit()
            candidate.logits(self._frames[0])
        gc.collect()
        measures.held_mib = float(np.fmax(measures.held_mib, resident_mib() - before))
        return candidate

    def _compare(self, candidate: Candidate, measures: Measures) -> None:
        """Note how far the logits are from those of the first candidate."""
        found = []
        for mix in self.mixes:
            candidate.prepare(mix)
            candidate.commit()
            found.append(np.array(candidate.logits(self._frames[0]), np.float64))
        self._reference = self._reference or found
        pairs = zip(found, self._reference, strict=True)
        measures.difference = max(float(np.abs(a - b).max()) for a, b in pairs)

    def _turn(self, candidate: Candidate, measures: Measures) -> None:
        for mix in self.mixes:
            started, busy = now_ms(), processor_ms()
            candidate.prepare(mix)
            candidate.commit()
            measures.ready_ms.append(now_ms() - started)
            measures.ready_cpu_ms.append(processor_ms() - busy)
        for rgb in self._film():
            started = now_ms()
            candidate.logits(rgb)
            measures.quiet_ms.append(now_ms() - started)
        with peak_growth() as peak:
            if candidate.aside:
                self._swap_aside(candidate, measures)
            else:
                self._swap_between(candidate, measures)
        measures.peak_mib = max(measures.peak_mib, peak[0])

    def _film(self) -> Iterator[UInt8Array]:
        """Return the frames of one part of a turn."""
        return islice(cycle(self._frames), self._count)

    def _swap_aside(self, candidate: Candidate, measures: Measures) -> None:
        """Run frames while a niced thread prepares one mix after the other."""
        wanted = cycle(self.mixes)
        with BackgroundExecutor("bench-swap") as executor:
            job = executor.submit(candidate.prepare, next(wanted))
            for rgb in self._film():
                started = now_ms()
                if job.done():
                    job.result()
                    candidate.commit()
                    measures.stall_ms.append(now_ms() - started)
                    measures.swaps += 1
                    job = executor.submit(candidate.prepare, next(wanted))
                candidate.logits(rgb)
                measures.during_ms.append(now_ms() - started)
            job.result()
        candidate.commit()

    def _swap_between(self, candidate: Candidate, measures: Measures) -> None:
        """Swap before every other frame; the frame waits for it."""
        wanted = cycle(self.mixes)
        for index, rgb in enumerate(self._film()):
            started = now_ms()
            if index % 2 == 0:
                candidate.prepare(next(wanted))
                candidate.commit()
                measures.stall_ms.append(now_ms() - started)
                measures.swaps += 1
            candidate.logits(rgb)
            if index % 2 == 0:
                measures.during_ms.append(now_ms() - started)
