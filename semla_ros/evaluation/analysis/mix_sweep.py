"""Temperature, top_k and distance on sampled frames: masks are made once for each distinct mix."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from semla_ros.core.errors import EmptyLibraryError, EvaluationError, LibraryError
from semla_ros.core.types import AdapterMix, Float32Array, Frame, LabelArray
from semla_ros.evaluation.metrics import Int64Array, mean_iou
from semla_ros.evaluation.study.scores import means_over
from semla_ros.evaluation.study.session import Session
from semla_ros.evaluation.study.strategies import left_out
from semla_ros.evaluation.study.tasks import Task, source_of
from semla_ros.library.retrieval import RetrievalSettings, retrieve
from semla_ros.navigator.distance import DISTANCES, CentroidBank
from semla_ros.pipeline.library_view import bank_of

_LOG = logging.getLogger(__name__)
STEP = 0.02
"""Weights are rounded to this before a mask is made: nearer mixes share one."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to choose a mix."""

    distance: str
    temperature: float
    top_k: int


@dataclass(frozen=True, slots=True)
class ChoiceScore:
    """How one choice did on the sampled frames, mIoU in percent.

    Attributes:
        choice: Which.
        domains: Domain -> mIoU.
        h_mean: Over domains.
        mean: Arithmetic mean over domains.
    """

    choice: Choice
    domains: dict[str, float]
    h_mean: float
    mean: float


@dataclass(frozen=True, slots=True)
class MixSweep:
    """The scores of all choices.

    Attributes:
        scores: In the order of the choices.
        frames: Sampled frames with truth.
        masks: Masks that were made for them.
        notes: Distances that could not be tried, and why.
    """

    scores: tuple[ChoiceScore, ...]
    frames: int
    masks: int
    notes: tuple[str, ...] = ()

    def best(self, distance: str | None = None) -> ChoiceScore:
        """Return the choice with the highest h-mean, of one distance where asked.

        Raises:
            EvaluationError: Nothing was scored.
        """
        found = [
            s
            for s in self.scores
            if distance in (None, s.choice.distance) and not math.isnan(s.h_mean)
        ]
        if not found:
            raise EvaluationError("expected a choice with a score, got none: give truth")
        return max(found, key=lambda s: s.h_mean)


@dataclass(slots=True)
class _Tally:
    """What is summed while frames go by."""

    counts: dict[tuple[Choice, str], Int64Array] = field(default_factory=dict)
    frames: int = 0
    masks: int = 0


def usable_banks(
    session: Session, distances: Sequence[str]
) -> tuple[dict[str, CentroidBank], tuple[str, ...]]:
    """Return distance -> centroids as it needs them, and why others cannot be tried."""
    banks, notes = {}, []
    for distance in dict.fromkeys(distances):
        try:
            banks[distance] = bank_of(session.parts.library, distance=distance)
        except LibraryError as error:
            notes.append(f"distance {distance!r} was not tried: {error}")
    return banks, tuple(notes)


def mix_sweep(
    session: Session,
    tasks: Sequence[Task],
    choices: Sequence[Choice],
    *,
    frames: int,
    on_frame: Callable[[], object] = lambda: None,
) -> MixSweep:
    """Return the scores of `choices` on up to `frames` evenly spaced frames of each task.

    Raises:
        EvaluationError: No sampled frame has truth.
        SemlaError: A recording cannot be read, or the engine fails.
    """
    banks, notes = usable_banks(session, [c.distance for c in choices])
    tried = [c for c in choices if c.distance in banks]
    tally = _Tally()
    for task in tasks:
        for view in sampled(session, task, frames):
            _one(session, view, tried, banks, tally)
            on_frame()
    if not tally.frames:
        raise EvaluationError("expected frames with ground truth, got none: give --labels")
    _LOG.info("%d masks for %d frames and %d choices", tally.masks, tally.frames, len(tried))
    return MixSweep(_scores(tally, tried, session), tally.frames, tally.masks, notes)


def sampled(session: Session, task: Task, frames: int) -> Iterator[tuple[Frame, LabelArray, str]]:
    """Yield evenly spaced frames of a task that have truth, with their domain."""
    source = source_of(session, task)
    total = max(source.frames.count or 0, 1)
    wanted = set(np.unique(np.linspace(0, total - 1, frames).round().astype(int)).tolist())
    for each in source.frames.read(on_note=_LOG.info):
        if each.index not in wanted or each.frame is None:
            continue
        truth = source.truth_of(each).labels
        if truth is not None:
            domain = source.domain_of(each) or source.name
            yield each.frame, truth, domain


def _one(
    session: Session,
    view: tuple[Frame, LabelArray, str],
    choices: Sequence[Choice],
    banks: dict[str, CentroidBank],
    tally: _Tally,
) -> None:
    frame, truth, domain = view
    if session.encoder is None:
        raise EvaluationError("expected a bundle with a navigator, got one without")
    embedding = session.encoder.encode(frame.rgb)
    wanted: dict[AdapterMix, list[Choice]] = {}
    for choice in choices:
        mix = _mix(session, choice, embedding, banks[choice.distance], domain)
        wanted.setdefault(mix, []).append(choice)
    for mix, served in wanted.items():
        counts = session.counts(frame, mix, truth)
        for choice in served:
            place = (choice, domain)
            tally.counts[place] = tally.counts[place] + counts if place in tally.counts else counts
    tally.frames += 1
    tally.masks += len(wanted)
    session.forget()


def _mix(
    session: Session, choice: Choice, embedding: Float32Array, bank: CentroidBank, domain: str
) -> AdapterMix:
    live = session.live.retrieval
    excluded = live.exclude | left_out(session.settings.leave_out, session.names, domain)
    settings: RetrievalSettings = replace(
        live, temperature=choice.temperature, top_k=choice.top_k, exclude=excluded
    )
    if choice.distance != session.live.distance:
        settings = replace(settings, null_distance=-1.0)  # it is a length in the bundle's distance
    try:
        mix = retrieve(bank.names, DISTANCES[choice.distance](embedding, bank), settings=settings)
    except EmptyLibraryError:
        return AdapterMix.base_only()
    return rounded(mix)


def rounded(mix: AdapterMix, step: float = STEP) -> AdapterMix:
    """Return the mix with weights in multiples of `step`, at least its heaviest member kept."""
    weights = {
        name: round(weight / step) * step
        for name, weight in zip(mix.names, mix.weights, strict=True)
    }
    kept = {name: weight for name, weight in weights.items() if weight > 0}
    return AdapterMix.from_weights(kept or {mix.names[0]: 1.0})


def _scores(tally: _Tally, choices: Sequence[Choice], session: Session) -> tuple[ChoiceScore, ...]:
    found = []
    for choice in choices:
        domains = {
            d: 100 * float(mean_iou(counts))
            for (c, d), counts in sorted(tally.counts.items(), key=lambda item: item[0][1])
            if c == choice
        }
        means = means_over(domains, session.settings.excluded)
        found.append(ChoiceScore(choice, domains, means["h_mean"], means["mean"]))
    return tuple(found)
