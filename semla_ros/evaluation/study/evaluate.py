"""One recording through every strategy, on the same frames.

Frames are taken in blocks, so that any length fits into memory: a block is read and embedded once,
then each strategy goes through it with its own state; weights are exchanged where the mix changes.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from semla_ros.core.errors import EvaluationError, SemlaError
from semla_ros.core.timing import StageTimer
from semla_ros.core.types import AdapterMix, Float32Array, Float64Array, Frame, LabelArray
from semla_ros.data.inputs import InputFrame
from semla_ros.data.labels.source import Truth, check_truth_size
from semla_ros.data.sequence_source import Block, SequenceSource
from semla_ros.evaluation.replay import mask_crc32
from semla_ros.evaluation.result import SkippedRecord
from semla_ros.evaluation.study.observation import Answer, Observation
from semla_ros.evaluation.study.session import Session
from semla_ros.evaluation.study.strategies import left_out, semla_mix
from semla_ros.evaluation.study.strategy_runs import StrategyRun, open_run, strategy_result
from semla_ros.evaluation.study.study import GATED, ORACLE, SequenceResult
from semla_ros.navigator.distance import DISTANCES, novelties
from semla_ros.navigator.support import support_score

_LOG = logging.getLogger(__name__)
_SHOWN_PROBLEMS = 3
INTERRUPTED = "interrupted by the user"
Progress = Callable[[int], object]
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


class _Seen(NamedTuple):
    """What is kept of an observation once its block is done."""

    stamp_ns: int
    domain: str
    scored: bool
    embedding: Float32Array | None
    distances: Float64Array
    novelty: float
    support: float


@dataclass(slots=True)
class _Evaluation:
    """One evaluation under way; `seen` and `answers` are of whole blocks."""

    session: Session
    source: SequenceSource
    timer: StageTimer = field(default_factory=StageTimer)
    runs: dict[str, StrategyRun] = field(default_factory=dict)
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    seen: list[_Seen] = field(default_factory=list)
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
    run = _Evaluation(session, source)
    for name in session.strategies:
        run.runs[name], run.answers[name] = open_run(session, name, run.timer), []
    ended_early = ""
    with run.timer.stage("total"):
        try:
            _all_blocks(run, progress)
        except KeyboardInterrupt:
            if not run.seen:
                raise
            ended_early = INTERRUPTED
        except SemlaError as error:
            if not run.seen:
                raise
            ended_early = str(error)
            _LOG.warning("%s ended early: %s", source.name, error)
        finally:
            session.forget()
    masks = sum(each.masks for each in run.runs.values()) + len(run.probe_crc32)
    return Evaluated(_result(run, ended_early), run.timer.durations_ms, masks)


def _all_blocks(run: _Evaluation, progress: Progress) -> None:
    blocks = run.source.blocks(on_note=run.note)
    while (block := _next(blocks, run.timer)) is not None:
        observations = [o for each in block if (o := _observation(run, *each)) is not None]
        if run.probe is None and observations:
            run.probe = observations[0].frame
            run.probe_crc32 = (_base_mask(run, run.probe),)
        answers: dict[str, list[Answer]] = {}
        for name, strategy in run.runs.items():
            answers[name] = strategy.answers(observations)
            progress(len(observations))
        # The block is whole only now: what ends an evaluation leaves no strategy ahead.
        for name, done in answers.items():
            run.answers[name] += done
        run.seen += map(_kept, observations)
        run.session.forget()
    if run.probe is not None:
        run.probe_crc32 += (_base_mask(run, run.probe),)
    _note_truth(run)


def _next(blocks: Iterator[Block], timer: StageTimer) -> Block | None:
    """Return the next block, None after the last; counts only what had to be waited for."""
    with timer.stage("read"):
        return next(blocks, None)


def _kept(o: Observation) -> _Seen:
    scored = o.truth is not None
    return _Seen(o.stamp_ns, o.domain, scored, o.embedding, o.distances, o.novelty, o.support)


def _observation(run: _Evaluation, read: InputFrame, found: Truth) -> Observation | None:
    """Return what is known about a frame before any mask; None if it cannot be used."""
    reason = read.reason
    if read.frame is not None:
        truth = _usable(run, read.frame, found)
        try:
            with run.timer.stage("embed"):
                return observe(run.session, read.frame, run.source.domain_of(read), truth)
        except SemlaError as error:
            reason = str(error)
    run.skipped.append(SkippedRecord(read.index, read.stamp_ns, reason))
    return None


def observe(
    session: Session, frame: Frame, domain: str, truth: LabelArray | None = None
) -> Observation:
    """Return what the session's navigator, if it has one, says about `frame`.

    Raises:
        FrameError: It has no finite embedding.
    """
    excluded = left_out(session.settings.leave_out, session.names, domain)
    seen = Observation(frame, domain, truth, excluded)
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
        seen.support = support_score(mix, session.names, seen.distances)
    return seen


def _base_mask(run: _Evaluation, frame: Frame) -> int:
    """Return the checksum of the mask that the base makes of `frame`."""
    with run.timer.stage("fuse"):
        run.session.serve(AdapterMix.base_only(), frame.stamp_ns)
    with run.timer.stage("infer"):
        prediction = run.session.segment(frame.rgb)
    return mask_crc32(prediction.labels)


def _usable(run: _Evaluation, frame: Frame, found: Truth) -> LabelArray | None:
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


def _note_truth(run: _Evaluation) -> None:
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


def _result(run: _Evaluation, ended_early: str) -> SequenceResult:
    session = run.session
    names, classes = session.names, len(session.classes)
    results = {s: strategy_result(s, a, names, classes=classes) for s, a in run.answers.items()}
    if ORACLE in results and not results[ORACLE].weights.any():
        del results[ORACLE]
        run.note("no adapter is named like a domain of this recording: no oracle")
    gated = run.answers.get(GATED)
    readings = [None] * len(run.seen) if gated is None else [a.support for a in gated]
    dim = 0 if session.encoder is None else session.encoder.dim
    seen = [*zip(*run.seen, strict=True)] or [()] * len(_Seen._fields)
    stamps, domains, scored, embeddings, distances, novelty, support = seen
    return SequenceResult(
        source=run.source.source,
        name=run.source.name,
        topic=run.source.frames.topic,
        stamps_ns=np.array(stamps, dtype=np.int64),
        domains=tuple(domains),
        scored=np.array(scored, dtype=np.bool_),
        embeddings=np.array(embeddings if dim else [], np.float32).reshape(len(scored), dim),
        distances=np.array(distances, np.float64).reshape(len(scored), len(names) if dim else 0),
        novelty=np.array(novelty, dtype=np.float64),
        support=np.array(support, dtype=np.float64),
        smoothed=np.array([np.nan if r is None else r.smoothed for r in readings], np.float64),
        levels=tuple("" if r is None else r.level for r in readings),
        results=results,
        skipped=tuple(run.skipped),
        notes=tuple(run.notes),
        ended_early=ended_early,
        probe_crc32=run.probe_crc32,
    )
