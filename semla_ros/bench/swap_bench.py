"""`semla bench swap`: ways to serve another mix, side by side, interleaved in one process."""

from __future__ import annotations

import gc
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice

import numpy as np
from tqdm import tqdm

from semla_ros.bench.candidate_openvino import CompiledAnew
from semla_ros.bench.candidate_peft import PeftMerged, PeftUnmerged
from semla_ros.bench.candidates import Candidate, HotLoading, Material, SessionAnew
from semla_ros.bench.resources import peak_growth, resident_mib
from semla_ros.errors import EvaluationError, SemlaError
from semla_ros.executors import BackgroundExecutor
from semla_ros.timing import now_ms, processor_ms
from semla_ros.types import AdapterMix, Float64Array, UInt8Array

_LOG = logging.getLogger(__name__)

_MIXES = 3

CANDIDATES: Mapping[str, Callable[[Material], Candidate]] = {
    "semla-onnx": lambda material: HotLoading(material, engine="onnx"),
    "semla-torch": lambda material: HotLoading(material, engine="torch"),
    "semla-openvino": lambda material: HotLoading(material, engine="openvino"),
    "peft-cat": PeftUnmerged,
    "peft-merge": PeftMerged,
    "onnx-anew": SessionAnew,
    "openvino-anew": CompiledAnew,
}


@dataclass(slots=True)
class Measures:
    """What one candidate did, over all rounds.

    Attributes:
        ready_ms: From asking for a mix to serving it, nothing else running.
        ready_cpu_ms: The same in processor time, which other programs do not spoil.
        commit_ms: What frames had to wait for, of the same swaps.
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
    commit_ms: list[float] = field(default_factory=list)
    quiet_ms: list[float] = field(default_factory=list)
    during_ms: list[float] = field(default_factory=list)
    stall_ms: list[float] = field(default_factory=list)
    swaps: int = 0
    difference: float = math.nan
    held_mib: float = math.nan
    peak_mib: float = 0.0


@dataclass(frozen=True, slots=True)
class SwapBench:
    """All candidates.

    Attributes:
        names: Key -> what the table calls it, and its runtime.
        measures: By key, in the order of the table.
        skipped: Key -> why it could not be measured.
        mixes: What was swapped between.
    """

    names: Mapping[str, tuple[str, str]]
    measures: Mapping[str, Measures]
    skipped: Mapping[str, str]
    mixes: tuple[AdapterMix, ...]


def run_swap_bench(
    material: Material,
    frames: Sequence[UInt8Array],
    *,
    rounds: int,
    count: int,
    keys: Sequence[str] = tuple(CANDIDATES),
    together: bool = True,
) -> SwapBench:
    """Return what each candidate did.

    Args:
        material: The same weights for all.
        frames: The same images for all.
        rounds: How often each candidate has its turn.
        count: Frames without, and frames with swaps, in one turn.
        keys: Of `CANDIDATES`; the first one is what the others' logits are compared with.
        together: Keep all open; otherwise each is opened for its turn and closed again, which
            needs the memory of one.

    Raises:
        EvaluationError: Fewer than two adapters, or no candidate can be opened.
    """
    session = _Session(material, frames, _mixes(tuple(material.adapters)), count)
    order = [key for _ in range(rounds) for key in keys]
    try:
        for key in tqdm(order, desc="swap", unit="turn"):
            session.turn(key)
            if not together:
                session.close()
    finally:
        session.close()
    if not session.names:
        raise EvaluationError(f"expected one candidate at least, refused were {session.skipped}")
    found = {key: session.measures[key] for key in session.names}
    return SwapBench(session.names, found, session.skipped, session.mixes)


class _Session:
    """Candidates that are open, and what they did so far."""

    def __init__(
        self,
        material: Material,
        frames: Sequence[UInt8Array],
        mixes: tuple[AdapterMix, ...],
        count: int,
    ) -> None:
        self.mixes = mixes
        self.names: dict[str, tuple[str, str]] = {}
        self.measures: dict[str, Measures] = {}
        self.skipped: dict[str, str] = {}
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
        candidate = CANDIDATES[key](self._material)
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
            prepared = now_ms()
            candidate.commit()
            done = now_ms()
            measures.ready_ms.append(done - started)
            measures.ready_cpu_ms.append(processor_ms() - busy)
            measures.commit_ms.append(done - prepared)
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


def _mixes(names: Sequence[str]) -> tuple[AdapterMix, ...]:
    if len(names) < 2:
        raise EvaluationError(f"expected two adapters or more, got {tuple(names)!r}")
    one, other = names[:2]
    blend = {name: 1.0 / (rank + 1) for rank, name in enumerate(names[:_MIXES])}
    return (
        AdapterMix.from_weights({one: 1.0}),
        AdapterMix.from_weights(blend),
        AdapterMix.from_weights({other: 1.0}),
    )
