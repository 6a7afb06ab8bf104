"""One recording through every strategy, on the same frames.

Frames are taken in blocks, so that any length fits into memory: a block is read and embedded once,
then each strategy goes through it with its own state; weights are exchanged where the mix changes.
The gated strategy is the live pipeline's own `step`, which finds its mix served again at the
beginning of a block: merging starts from W0, so the weights are the same to the bit.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from semla_ros.core.errors import EvaluationError, SemlaError
from semla_ros.core.timing import StageTimer
from semla_ros.core.types import AdapterMix, Float64Array, Frame, LabelArray
from semla_ros.data.inputs import InputFrame
from semla_ros.data.labels.source import Truth, check_truth_size
from semla_ros.data.sequence_source import Block, SequenceSource
from semla_ros.evaluation.replay import mask_crc32
from semla_ros.evaluation.result import SkippedRecord
from semla_ros.evaluation.study.observation import Observation
from semla_ros.evaluation.study.session import Session
from semla_ros.evaluation.study.strategies import left_out, semla_mix
from semla_ros.evaluation.study.strategy_run import LiveRun, MixRun, StrategyRun
from semla_ros.evaluation.study.study import GATED, ORACLE, SequenceResult
from semla_ros.navigator.distance import DISTANCES, novelties
from semla_ros.navigator.support import support_score

_LOG = logging.getLogger(__name__)
_SHOWN_PROBLEMS = 3
Progress = Callable[[int], None]
"""Called with the number of masks made since the last call."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A recording's result, and where the time went.

    Attributes:
        result: What is saved.
        stages_ms: Stage -> duration; `total` is the whole.
        masks: How many masks were made by inference.
    """

    result: SequenceResult
    stages_ms: dict[str, float]
    masks: int


@dataclass(slots=True)
class _Progress:
    """What one evaluation gathers beside the strategies."""

    session: Session
    source: SequenceSource
    timer: StageTimer = field(default_factory=StageTimer)
    observations: list[Observation] = field(default_factory=list)
    skipped: list[SkippedRecord] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)
    problems: Counter[str] = field(default_factory=Counter)
    truth_fits: bool = False
    probe: Frame | None = None
    probe_crc32: tuple[int, ...] = ()

    def note(self, text: str) -> None:
        self.notes[text] = None


def evaluate(
    session: Session, source: SequenceSource, *, progress: Progress = lambda _: None
) -> Evaluated:
    """Return what every strategy does on `source`.

    Whatever stops it after its first block (Ctrl-C, an engine that fails, a damaged recording)
    ends it early: the result holds the whole blocks done so far and says so.

    Raises:
        SemlaError: Nothing could be evaluated at all.
        KeyboardInterrupt: By the user, before the first block was done.
    """
    run = _Progress(session, source)
    strategies: list[StrategyRun] = [
        LiveRun(session, run.timer) if name == GATED else MixRun(session, name, run.timer)
        for name in session.strategies
    ]
    ended_early = ""
    with run.timer.stage("total"):
        try:
            _all_blocks(run, strategies, progress)
        except KeyboardInterrupt:
            if not run.observations:
                raise
            ended_early = "interrupted by the user"
        except SemlaError as error:
            if not run.observations:
                raise
            ended_early = str(error)
            _LOG.warning("%s ended early: %s", source.name, error)
        finally:
            session.forget()
    result = replace(_result(run, strategies), ended_early=ended_early)
    masks = sum(s.inferred for s in strategies) + len(run.probe_crc32)
    return Evaluated(result, run.timer.durations_ms, masks)


def _all_blocks(run: _Progress, strategies: list[StrategyRun], progress: Progress) -> None:
    blocks = run.source.blocks(on_note=run.note)
    while (block := _next(blocks, run.timer)) is not None:
        observations = [o for each in block if (o := _observation(run, *each)) is not None]
        if run.probe is None and observations:
            run.probe = observations[0].image
            run.probe_crc32 = (_base_mask(run, run.probe),)
        for strategy in strategies:
            strategy.take(observations)
            progress(len(observations))
        # The block is whole only now: what ends an evaluation leaves no strategy ahead.
        for strategy in strategies:
            strategy.keep()
        for observation in observations:
            observation.forget()
        run.observations += observations
        run.session.forget()
    if run.probe is not None:
        run.probe_crc32 += (_base_mask(run, run.probe),)
    _note_truth(run)


def _next(blocks: Iterator[Block], timer: StageTimer) -> Block | None:
    """Return the next block, None after the last; counts only what had to be waited for."""
    with timer.stage("read"):
        return next(blocks, None)


def _observation(run: _Progress, read: InputFrame, found: Truth) -> Observation | None:
    """Return what is known about a frame before any mask; None if it cannot be used."""
    if read.frame is None:
        run.skipped.append(SkippedRecord(read.index, read.stamp_ns, read.reason))
        return None
    truth = _usable(run, read.frame, found)
    try:
        with run.timer.stage("embed"):
            seen = observe(run.session, read.frame, run.source.domain_of(read))
    except SemlaError as error:
        run.skipped.append(SkippedRecord(read.index, read.stamp_ns, str(error)))
        return None
    seen.truth, seen.scored = truth, truth is not None
    return seen


def observe(session: Session, frame: Frame, domain: str) -> Observation:
    """Return what the session's navigator, if it has one, says about `frame`.

    Raises:
        FrameError: It has no finite embedding.
    """
    excluded = left_out(session.settings.leave_out, session.names, domain)
    seen = Observation(frame.stamp_ns, domain, excluded=excluded, frame=frame)
    if session.encoder is None:
        return seen
    seen.embedding = session.encoder.encode(frame.rgb)
    seen.distances = DISTANCES[session.live.distance](seen.embedding, session.bank)
    retrieval = session.live.retrieval
    values = novelties(seen.embedding, session.bank)
    banned = retrieval.exclude | excluded
    allowed = [i for i, n in enumerate(session.names) if n not in banned]
    if values is not None and allowed:
        seen.novelty = float(values[allowed].min())
    mix = semla_mix(session.names, seen, retrieval)
    if mix is not None:
        seen.support = support_score(
            mix, session.names, seen.distances, null_distance=retrieval.null_distance
        )
    return seen


def _base_mask(run: _Progress, frame: Frame) -> int:
    """Return the checksum of the mask that the base makes of `frame`."""
    with run.timer.stage("fuse"):
        run.session.serve(AdapterMix.base_only(), frame.stamp_ns)
    with run.timer.stage("infer"):
        prediction = run.session.segment(frame.rgb)
    return mask_crc32(prediction.labels)


def _usable(run: _Progress, frame: Frame, found: Truth) -> LabelArray | None:
    """Return the truth if it fits its frame.

    Raises:
        EvaluationError: None has fitted so far: the wrong labels, or the wrong map.
    """
    problem, labels = found.problem, found.labels
    if labels is not None:
        try:
            check_truth_size(labels, frame.rgb.shape[:2])
        except EvaluationError as error:
            labels, problem = None, str(error)
    if problem:
        if not run.truth_fits:
            raise EvaluationError(f"{run.source.name}: {problem}")
        run.problems[problem] += 1
    run.truth_fits = run.truth_fits or labels is not None
    return labels


def _note_truth(run: _Progress) -> None:
    """Say what of the truth was not used."""
    if run.problems:
        shown = "; ".join([*run.problems][:_SHOWN_PROBLEMS])
        more = "; …" if len(run.problems) > _SHOWN_PROBLEMS else ""
        run.note(f"{run.problems.total()} frames not scored: {shown}{more}")
    if run.source.truth is None:
        return
    if gaps := run.source.truth.gaps():
        run.note(gaps)
    for mapping in run.source.truth.mappings():
        if mapping.ignored:
            counted = len(mapping.assigned)
            run.note(
                f"{counted} of {counted + len(mapping.ignored)} classes of the truth are counted; "
                f"without a counterpart, not scored: {', '.join(mapping.ignored)}"
            )
        if mapping.uncovered:
            total = len(mapping.classes)
            run.note(
                f"{total - len(mapping.uncovered)} of {total} classes of the bundle are counted; "
                f"the truth never shows: {', '.join(mapping.uncovered)}"
            )


def _result(run: _Progress, strategies: list[StrategyRun]) -> SequenceResult:
    seen, session = run.observations, run.session
    live = next((s.done for s in strategies if isinstance(s, LiveRun)), None)
    readings = [None] * len(seen) if live is None else [answered.support for answered in live]
    results = {s.strategy: s.result() for s in strategies}
    if ORACLE in results and not results[ORACLE].weights.any():
        del results[ORACLE]
        run.note("no adapter is named like a domain of this recording: no oracle")
    dim = 0 if session.encoder is None else session.encoder.dim
    adapters = len(session.names) if dim else 0
    return SequenceResult(
        source=run.source.source,
        name=run.source.name,
        topic=run.source.frames.topic,
        stamps_ns=np.array([s.stamp_ns for s in seen], dtype=np.int64),
        domains=tuple(s.domain for s in seen),
        scored=np.array([s.scored for s in seen], dtype=np.bool_),
        embeddings=_rows([s.embedding for s in seen], dim).astype(np.float32),
        distances=_rows([s.distances for s in seen], adapters),
        novelty=np.array([s.novelty for s in seen], dtype=np.float64),
        support=np.array([s.support for s in seen], dtype=np.float64),
        smoothed=np.array([np.nan if r is None else r.smoothed for r in readings], np.float64),
        levels=tuple("" if r is None else r.level for r in readings),
        results=results,
        skipped=tuple(run.skipped),
        notes=tuple(run.notes),
        probe_crc32=run.probe_crc32,
    )


def _rows(rows: list[Float64Array] | list[np.ndarray | None], width: int) -> np.ndarray:
    kept = [r for r in rows if r is not None and len(r)]
    return np.stack(kept) if kept and width else np.zeros((len(rows), width))
