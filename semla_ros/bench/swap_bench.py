"""`semla bench swap`: ways to serve another mix, side by side, interleaved in one process."""

from __future__ import annotations

import gc
import logging
import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice

import numpy as np
from tqdm import tqdm

from semla_ros.bench.candidate_openvino import CompiledAnew
from semla_ros.bench.candidate_peft import PeftMerged, PeftUnmerged
from semla_ros.bench.candidates import Candidate, HotLoading, Material, SessionAnew
from semla_ros.bench.resources import sample
from semla_ros.errors import EvaluationError, SemlaError
from semla_ros.executors import background_executor
from semla_ros.timing import now_ms
from semla_ros.types import AdapterMix, UInt8Array

_LOG = logging.getLogger(__name__)

_MIB = 2.0**20
_WATCH_S = 0.01
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
) -> SwapBench:
    """Return what each candidate did.

    Args:
        material: The same weights for all.
        frames: The same images for all.
        rounds: How often each candidate has its turn.
        count: Frames without, and frames with swaps, in one turn.
        keys: Of `CANDIDATES`; the first one is what the others' logits are compared with.

    Raises:
        EvaluationError: Fewer than two adapters, or no candidate can be opened.
    """
    mixes = _mixes(tuple(material.adapters))
    measures = {key: Measures() for key in keys}
    skipped: dict[str, str] = {}
    opened: dict[str, Candidate] = {}
    try:
        for key in tqdm(keys, desc="open candidates"):
            try:
                opened[key] = _opened(key, material, measures[key], mixes, frames[0])
            except (SemlaError, ImportError) as error:
                skipped[key] = str(error)
                _LOG.warning("%s is left out: %s", key, error)
        if not opened:
            raise EvaluationError(f"expected one candidate at least, all were refused: {skipped}")
        _compare(opened, measures, mixes, frames[0])
        with tqdm(total=rounds * len(opened), desc="swap", unit="turn") as bar:
            for _ in range(rounds):
                for key, candidate in opened.items():
                    _turn(candidate, measures[key], mixes, frames, count=count)
                    bar.update()
        names = {key: (each.name, each.runtime) for key, each in opened.items()}
    finally:
        for each in opened.values():
            each.close()
    return SwapBench(names, {k: measures[k] for k in opened}, skipped, mixes)


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


def _opened(
    key: str,
    material: Material,
    measures: Measures,
    mixes: Sequence[AdapterMix],
    rgb: UInt8Array,
) -> Candidate:
    gc.collect()
    before = _resident_mib()
    candidate = CANDIDATES[key](material)
    for mix in mixes[:2]:
        candidate.prepare(mix)
        candidate.commit()
        candidate.logits(rgb)
    gc.collect()
    measures.held_mib = _resident_mib() - before
    return candidate


def _compare(
    opened: Mapping[str, Candidate],
    measures: Mapping[str, Measures],
    mixes: Sequence[AdapterMix],
    rgb: UInt8Array,
) -> None:
    """Note how far every candidate's logits are from the first one's."""
    first = next(iter(opened))
    for mix in mixes:
        reference = None
        for key, candidate in opened.items():
            candidate.prepare(mix)
            candidate.commit()
            logits = np.array(candidate.logits(rgb), np.float64)
            reference = logits if key == first else reference
            difference = float(np.abs(logits - reference).max()) if reference is not None else 0.0
            measures[key].difference = float(np.fmax(measures[key].difference, difference))


def _turn(
    candidate: Candidate,
    measures: Measures,
    mixes: Sequence[AdapterMix],
    frames: Sequence[UInt8Array],
    *,
    count: int,
) -> None:
    for mix in mixes:
        started = now_ms()
        candidate.prepare(mix)
        prepared = now_ms()
        candidate.commit()
        done = now_ms()
        measures.ready_ms.append(done - started)
        measures.commit_ms.append(done - prepared)
    for rgb in islice(cycle(frames), count):
        started = now_ms()
        candidate.logits(rgb)
        measures.quiet_ms.append(now_ms() - started)
    with _peak() as peak:
        if candidate.aside:
            _swap_aside(candidate, measures, mixes, frames, count=count)
        else:
            _swap_between(candidate, measures, mixes, frames, count=count)
    measures.peak_mib = max(measures.peak_mib, peak[0])


def _swap_aside(
    candidate: Candidate,
    measures: Measures,
    mixes: Sequence[AdapterMix],
    frames: Sequence[UInt8Array],
    *,
    count: int,
) -> None:
    """Run frames while a niced thread prepares one mix after the other."""
    wanted = cycle(mixes)
    with background_executor("bench-swap") as executor:
        job = executor.submit(candidate.prepare, next(wanted))
        for rgb in islice(cycle(frames), count):
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


def _swap_between(
    candidate: Candidate,
    measures: Measures,
    mixes: Sequence[AdapterMix],
    frames: Sequence[UInt8Array],
    *,
    count: int,
) -> None:
    """Swap before every other frame; the frame waits for it."""
    wanted = cycle(mixes)
    for index, rgb in enumerate(islice(cycle(frames), count)):
        started = now_ms()
        if index % 2 == 0:
            candidate.prepare(next(wanted))
            candidate.commit()
            measures.stall_ms.append(now_ms() - started)
            measures.swaps += 1
        candidate.logits(rgb)
        if index % 2 == 0:
            measures.during_ms.append(now_ms() - started)


@contextmanager
def _peak() -> Iterator[list[float]]:
    """Yield a list whose only element becomes the growth of resident memory at its peak, MiB."""
    base = _resident_mib()
    peak, stop = [0.0], threading.Event()

    def watch() -> None:
        while not stop.wait(_WATCH_S):
            peak[0] = max(peak[0], _resident_mib() - base)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def _resident_mib() -> float:
    return sample(os.getpid()).rss_bytes / _MIB
