"""One recording through every strategy, on the same frames.

Frames are taken in blocks, so that any length fits into memory: a block is read and embedded once,
then each strategy goes through it with its own state; weights are exchanged where the mix changes.
The gated strategy is the live pipeline's own `step`, which finds its mix served again at the
beginning of a block: merging starts from W0, so the weights are the same to the bit.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from semla_ros.errors import EvaluationError, SemlaError
from semla_ros.evaluation.result import SkippedRecord
from semla_ros.evaluation.study.blocks import Block, read_blocks
from semla_ros.evaluation.study.inputs import Input, Shot
from semla_ros.evaluation.study.observe import Sight, Watcher
from semla_ros.evaluation.study.passes import LivePass, MixPass, Pass
from semla_ros.evaluation.study.record import ORACLE, RecordingTrack
from semla_ros.evaluation.study.scoring import check_truth_size
from semla_ros.evaluation.study.session import Session
from semla_ros.evaluation.truth.domains import DomainTable
from semla_ros.evaluation.truth.source import Truth, TruthSource
from semla_ros.timing import StageTimer
from semla_ros.types import LabelArray

_LOG = logging.getLogger(__name__)
_SHOWN_PROBLEMS = 3
Progress = Callable[[int], None]
"""Called with the number of masks made since the last call."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One recording to evaluate.

    Attributes:
        source: As the user named it.
        name: Short and unique.
        frames: Its frames.
        truth: Their truth.
        domains: Their domains.
    """

    source: str
    name: str
    frames: Input
    truth: TruthSource
    domains: DomainTable


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A recording's track, and where the time went.

    Attributes:
        track: What is saved.
        stages_ms: Stage -> duration; `total` is the whole.
        masks: How many masks were made by inference.
    """

    track: RecordingTrack
    stages_ms: dict[str, float]
    masks: int


@dataclass(slots=True)
class _Run:
    """What one evaluation gathers beside the passes."""

    sights: list[Sight] = field(default_factory=list)
    scored: list[bool] = field(default_factory=list)
    skipped: list[SkippedRecord] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: dict[str, int] = field(default_factory=dict)
    truth_fits: bool = False
    probe: Shot | None = None
    probe_crc32: tuple[int, ...] = ()

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def evaluate(session: Session, subject: Subject, *, progress: Progress | None = None) -> Evaluated:
    """Return what every strategy does on `subject`.

    Whatever stops it after its first block (Ctrl-C, an engine that fails, a damaged recording)
    ends it early: the track holds the whole blocks done so far and says so.

    Raises:
        SemlaError: Nothing could be evaluated at all.
        KeyboardInterrupt: By the user, before the first block was done.
    """
    timer, run = StageTimer(), _Run()
    passes: list[Pass] = [_pass(session, name, timer) for name in session.strategies]
    ended_early = ""
    with timer.stage("total"):
        try:
            _all_blocks(session, subject, passes=passes, run=run, timer=timer, progress=progress)
        except KeyboardInterrupt:
            if not run.sights:
                raise
            ended_early = "interrupted by the user"
        except SemlaError as error:
            if not run.sights:
                raise
            ended_early = str(error)
            _LOG.warning("%s ended early: %s", subject.name, error)
        finally:
            if session.encoder is not None:
                session.encoder.forget()
    track = _track(session, subject, passes, run=run)
    masks = sum(p.inferred for p in passes) + len(run.probe_crc32)
    return Evaluated(replace(track, ended_early=ended_early), timer.durations_ms, masks)


def _pass(session: Session, strategy: str, timer: StageTimer) -> Pass:
    chooser = session.chooser(strategy)
    if chooser is None:
        return LivePass(session, timer)
    return MixPass(session, strategy, chooser, timer=timer)


def _all_blocks(
    session: Session,
    subject: Subject,
    *,
    passes: list[Pass],
    run: _Run,
    timer: StageTimer,
    progress: Progress | None,
) -> None:
    watcher = Watcher(session, timer)
    blocks = read_blocks(subject.frames, subject.truth, on_note=run.note)
    while (block := _next(blocks, timer)) is not None:
        run.skipped += block.skipped
        found = (_sight(watcher, subject, *each, run=run, timer=timer) for each in block.shots)
        sights = [s for s in found if s is not None]
        if run.probe is None and sights:
            run.probe = sights[0].shot
            run.probe_crc32 = (watcher.base_mask(run.probe),)
        for each in passes:
            each.take(sights)
            if progress is not None:
                progress(len(sights))
        # The block is whole only now: what ends an evaluation leaves no strategy ahead.
        for each in passes:
            each.keep()
        run.scored += [s.truth is not None for s in sights]
        run.sights += [s.without_pictures() for s in sights]
        if session.encoder is not None:
            session.encoder.forget()
    if run.probe is not None:
        run.probe_crc32 += (watcher.base_mask(run.probe),)
    _note_truth(subject, run)


def _next(blocks: Iterator[Block], timer: StageTimer) -> Block | None:
    """Return the next block, None after the last; counts only what had to be waited for."""
    with timer.stage("read"):
        return next(blocks, None)


def _sight(
    watcher: Watcher, subject: Subject, shot: Shot, found: Truth, *, run: _Run, timer: StageTimer
) -> Sight | None:
    """Return what is known about a frame before any mask; None if it cannot be embedded."""
    domain = subject.domains.domain(shot.stamp_ns, shot.name)
    truth = _usable(subject, shot, found, run)
    try:
        with timer.stage("embed"):
            return watcher.look(shot, domain, truth)
    except SemlaError as error:
        run.skipped.append(SkippedRecord(shot.index, shot.stamp_ns, str(error)))
        return None


def _usable(subject: Subject, shot: Shot, found: Truth, run: _Run) -> LabelArray | None:
    """Return the truth if it fits its frame.

    Raises:
        EvaluationError: None has fitted so far: the wrong labels, or the wrong map.
    """
    problem, labels = found.problem, found.labels
    if labels is not None and shot.frame is not None:
        try:
            check_truth_size(labels, shot.frame.rgb.shape[:2])
        except EvaluationError as error:
            labels, problem = None, str(error)
    if problem:
        if not run.truth_fits:
            raise EvaluationError(f"{subject.name}: {problem}")
        run.problems[problem] = run.problems.get(problem, 0) + 1
    run.truth_fits = run.truth_fits or labels is not None
    return labels


def _note_truth(subject: Subject, run: _Run) -> None:
    """Say what of the truth was not used."""
    if run.problems:
        shown = "; ".join([*run.problems][:_SHOWN_PROBLEMS])
        more = "; …" if len(run.problems) > _SHOWN_PROBLEMS else ""
        run.note(f"{sum(run.problems.values())} frames not scored: {shown}{more}")
    if gaps := subject.truth.gaps():
        run.note(gaps)
    for mapping in subject.truth.mappings():
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


def _track(session: Session, subject: Subject, passes: list[Pass], *, run: _Run) -> RecordingTrack:
    sights, count = run.sights, len(run.sights)
    live = next((p for p in passes if isinstance(p, LivePass)), None)
    tracks = {p.strategy: p.track(len(session.classes)) for p in passes}
    if ORACLE in tracks and not tracks[ORACLE].weights.any():
        del tracks[ORACLE]
        run.note("no adapter is named like a domain of this recording: no oracle")
    dim = 0 if session.encoder is None else session.encoder.dim
    adapters = len(session.names) if dim else 0
    return RecordingTrack(
        source=subject.source,
        name=subject.name,
        topic=subject.frames.topic,
        stamps_ns=np.array([s.shot.stamp_ns for s in sights], dtype=np.int64),
        domains=tuple(s.look.domain for s in sights),
        scored=np.array(run.scored, dtype=np.bool_),
        embeddings=_rows([s.look.embedding for s in sights], dim).astype(np.float32),
        distances=_rows([s.look.distances for s in sights], adapters),
        novelty=np.array([s.novelty for s in sights], dtype=np.float64),
        support=np.array([s.support for s in sights], dtype=np.float64),
        smoothed=np.full(count, np.nan) if live is None else live.smoothed(),
        levels=("",) * count if live is None else live.levels(),
        tracks=tracks,
        skipped=tuple(run.skipped),
        notes=tuple(run.notes),
        probe_crc32=run.probe_crc32,
    )


def _rows(rows: list[np.ndarray | None], width: int) -> np.ndarray:
    kept = [r for r in rows if r is not None and len(r)]
    return np.stack(kept) if kept and width else np.zeros((len(rows), width))
