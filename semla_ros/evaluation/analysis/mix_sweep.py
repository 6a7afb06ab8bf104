"""Settings of retrieval on sampled frames: masks are made once for each distinct mix."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

import numpy as np

from semla_ros.core.errors import EmptyLibraryError, EvaluationError, LibraryError
from semla_ros.core.types import AdapterMix
from semla_ros.data.metrics import Int64Array, mean_iou
from semla_ros.data.tasks import Task
from semla_ros.evaluation.study.evaluate import observe
from semla_ros.evaluation.study.observation import Observation
from semla_ros.evaluation.study.scores import means_over
from semla_ros.evaluation.study.session import Session
from semla_ros.evaluation.study.tasks import source_of
from semla_ros.library.retrieval import RetrievalSettings, retrieve
from semla_ros.navigator.distance import DISTANCES, CentroidBank
from semla_ros.pipeline.library_view import bank_of

_LOG = logging.getLogger(__name__)
_K = TypeVar("_K", bound=Hashable)
STEP = 0.02
"""Weights are rounded to this before a mask is made: nearer mixes share one."""
NULL_QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to choose a mix.

    Attributes:
        distance, temperature, top_k: As in the configuration.
        null_distance: Distance at which the base itself competes; not above 0: never.
    """

    distance: str
    temperature: float
    top_k: int
    null_distance: float = -1.0


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


def null_distances(
    session: Session, tasks: Sequence[Task], distance: str, *, frames: int
) -> tuple[float, ...]:
    """Return distances at which the base may compete: quantiles of those to the nearest adapter.

    They are measured on the frames that `mix_sweep` samples, among adapters that may serve;
    below the smallest the base would serve all frames, beyond the largest hardly any.
    """
    bank = usable_banks(session, [distance])[0][distance]
    nearest = []
    for seen in (each for task in tasks for each in sampled(session, task, frames)):
        away = DISTANCES[distance](seen.known_embedding, bank)
        out = session.live.retrieval.exclude | seen.excluded
        left = [d for d, name in zip(away, bank.names, strict=True) if name not in out]
        nearest += [min(left)] if left else []
        session.forget()
    if not nearest:
        return ()
    return tuple(float(f"{q:.4g}") for q in np.quantile(nearest, NULL_QUANTILES))


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

    def wanted(seen: Observation) -> dict[Choice, AdapterMix]:
        on_frame()
        return {c: _mix(session, c, seen, banks[c.distance]) for c in tried}

    found = score_mixes(session, tasks, wanted, frames=frames)
    _LOG.info("%d masks for %d frames and %d choices", found.masks, found.frames, len(tried))
    scores = tuple(
        ChoiceScore(c, found.miou(c), *found.means(c, session.settings.excluded)) for c in tried
    )
    return MixSweep(scores, found.frames, found.masks, notes)


@dataclass(slots=True)
class MixCounts(Generic[_K]):
    """Counts of the masks of mixes, each known by a key, summed over sampled frames.

    Attributes:
        counts: (key, domain) -> (3, T), see `StrategyResult.counts`.
        frames: Frames with truth.
        masks: Masks that were made for them: equal mixes on a frame share one.
    """

    counts: dict[tuple[_K, str], Int64Array] = field(default_factory=dict)
    frames: int = 0
    masks: int = 0

    def miou(self, key: _K) -> dict[str, float]:
        """Return domain -> mIoU in percent of the mixes of one key."""
        own = {d: counts for (k, d), counts in self.counts.items() if k == key}
        return {d: 100 * float(mean_iou(own[d])) for d in sorted(own)}

    def means(self, key: _K, excluded: tuple[str, ...]) -> tuple[float, float]:
        """Return h-mean and arithmetic mean over the domains that are not excluded."""
        found = means_over(self.miou(key), excluded)
        return found["h_mean"], found["mean"]


def score_mixes(
    session: Session,
    tasks: Sequence[Task],
    wanted: Callable[[Observation], Mapping[_K, AdapterMix]],
    *,
    frames: int,
) -> MixCounts[_K]:
    """Return what the mixes that are `wanted` for each sampled frame make of it.

    Raises:
        EvaluationError: No sampled frame has truth.
        SemlaError: A recording cannot be read, or the engine fails.
    """
    found = MixCounts[_K]()
    for seen in (each for task in tasks for each in sampled(session, task, frames)):
        made: dict[AdapterMix, Int64Array] = {}
        for key, mix in wanted(seen).items():
            if mix not in made:
                made[mix] = session.counts(seen, mix)
            place = (key, seen.domain)
            found.counts[place] = found.counts.get(place, 0) + made[mix]
        found.frames += 1
        found.masks += len(made)
        session.forget()
    if not found.frames:
        raise EvaluationError("expected frames with ground truth, got none: give --labels")
    return found


def sampled(session: Session, task: Task, frames: int) -> Iterator[Observation]:
    """Yield what is seen on evenly spaced frames of a task that have truth.

    Raises:
        EvaluationError: The bundle has no navigator.
    """
    if session.encoder is None:
        raise EvaluationError("expected a bundle with a navigator, got one without")
    source = source_of(session, task)
    total = max(source.frames.count or 0, 1)
    wanted = set(np.unique(np.linspace(0, total - 1, frames).round().astype(int)).tolist())
    for each in source.frames.read(on_note=_LOG.info):
        if each.index not in wanted or each.frame is None:
            continue
        truth = source.truth_of(each).labels
        if truth is not None:
            yield observe(session, each.frame, source.domain_of(each) or source.name, truth)


def _mix(session: Session, choice: Choice, seen: Observation, bank: CentroidBank) -> AdapterMix:
    live = session.live.retrieval
    excluded = live.exclude | seen.excluded
    settings: RetrievalSettings = replace(
        live,
        temperature=choice.temperature,
        top_k=choice.top_k,
        null_distance=choice.null_distance,
        exclude=excluded,
    )
    distances = DISTANCES[choice.distance](seen.known_embedding, bank)
    try:
        mix = retrieve(bank.names, distances, settings=settings)
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
