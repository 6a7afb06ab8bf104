"""`semla bench retrieval`: other ways from an embedding to a mix, own domain left out.

SemLA's retrieval is held against two ideas on scenes of the demo world that no adapter has seen: a
null adapter whose distance is fitted without the domain that is judged, and several centroids a
domain. Table 6 of SemLA's kind: harmonic means over domains of mIoU.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from semla_ros.bench.record import BenchRecord, Cell
from semla_ros.core.errors import ConfigError
from semla_ros.core.types import AdapterMix, Float64Array, Frame
from semla_ros.data.metrics import Int64Array, harmonic_mean, mean_iou
from semla_ros.demo.model.recipe import SceneSeeds
from semla_ros.demo.model.scenes import render_domain
from semla_ros.demo.world import DOMAINS
from semla_ros.evaluation.analysis.gaps import kmeans
from semla_ros.evaluation.study import study
from semla_ros.evaluation.study.evaluate import observe
from semla_ros.evaluation.study.observation import Observation
from semla_ros.evaluation.study.session import Session, StudySettings
from semla_ros.evaluation.study.strategies import OWN_DOMAIN, Strategy, semla_mix
from semla_ros.library.retrieval import RetrievalSettings
from semla_ros.navigator.distance import CentroidBank, euclidean

SEMLA, AS_BUNDLED, FITTED = "SemLA", "null adapter, the bundle's", "null adapter, fitted"
CENTROIDS = (2, 4, 8)
NULL_QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Null distances to try: quantiles of the distance to the nearest adapter of another domain."""
_SET_STRIDE = 1_000_000
_KEPT_EXACT = {"engine": "onnx", "precision": "f32"}

Scenes = Mapping[str, Sequence[Observation]]
"""Domain -> its frames, each with its own adapter left out."""


@dataclass(frozen=True, slots=True)
class RetrievalRequest:
    """How much is tried.

    Attributes:
        bundle: With a library of the demo world's domains; None for the demo bundle.
        scenes: Of each domain in each set, >= 1.
        sets: Disjoint sets of scenes, >= 2: their spread is what a difference must exceed.
    """

    bundle: Path | None = None
    scenes: int = 30
    sets: int = 3

    def __post_init__(self) -> None:
        if self.scenes < 1 or self.sets < 2:
            raise ConfigError(
                f"expected scenes >= 1 and sets >= 2, got {self.scenes!r} and {self.sets!r}"
            )


def run_retrieval(request: RetrievalRequest, *, command: str) -> BenchRecord:
    """Return the record: percent, mean over sets and its spread, paired difference to SemLA.

    Raises:
        SemlaError: The bundle has no library of the world's domains, or cannot be used.
    """
    session = _opened(request.bundle)
    try:
        judge = _Judge(session)
        fit = _scenes(session, SceneSeeds().validation, request.scenes)
        fitted = {domain: _fitted_null(session, judge, fit, without=domain) for domain in fit}
        rules = _rules(session, fitted)
        found: dict[str, list[float]] = {name: [] for name in rules}
        for number in range(request.sets):
            test = _scenes(session, SceneSeeds().test + _SET_STRIDE * number, request.scenes)
            for name, rule in rules.items():
                found[name].append(judge.h_mean(test, rule))
    finally:
        session.close()
    return BenchRecord(
        "From embeddings to mixes",
        command,
        tuple(
            _row(name, np.array(values), np.array(found[SEMLA])) for name, values in found.items()
        ),
        notes=(
            "Harmonic means over domains of mIoU in percent, the frame's own adapter left out; ± "
            "is the standard deviation over sets of scenes, of the difference set by set.",
            "The fitted null distance of a domain is that which serves the others best on other "
            "scenes, its adapter not being there; "
            + ", ".join(f"{d}: {'never' if v < 0 else round(v, 2)}" for d, v in fitted.items())
            + ".",
            "Several centroids are k-means of the images that the library keeps of a domain; the "
            "nearest one counts.",
        ),
    )


class _Judge:
    """Makes masks and scores them; a mix on a frame once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[tuple[int, AdapterMix], Int64Array] = {}

    def h_mean(self, scenes: Scenes, rule: Strategy) -> float:
        """Return the harmonic mean over domains of mIoU, percent."""
        sums = (
            np.sum([self._counts(rule, each) for each in seen], axis=0) for seen in scenes.values()
        )
        return 100 * harmonic_mean([float(mean_iou(counts)) for counts in sums])

    def _counts(self, rule: Strategy, seen: Observation) -> Int64Array:
        mix = rule(seen) or AdapterMix.base_only()
        key = id(seen.frame), mix
        if key not in self._known:
            self._known[key] = self._session.counts(seen, mix)
        return self._known[key]


def _opened(bundle: Path | None) -> Session:
    settings = StudySettings(
        bundle, strategies=(study.SEMLA,), leave_out=OWN_DOMAIN, changes=_KEPT_EXACT
    )
    session = Session(settings)
    if missing := set(DOMAINS) - set(session.names):
        session.close()
        raise ConfigError(
            f"expected a library of the demo world's domains, got one without {sorted(missing)!r}"
        )
    return session


def _scenes(session: Session, first_seed: int, count: int) -> Scenes:
    return {domain: tuple(_observations(session, domain, first_seed, count)) for domain in DOMAINS}


def _observations(
    session: Session, domain: str, first_seed: int, count: int
) -> Iterator[Observation]:
    images = render_domain(domain, first_seed=first_seed, count=count).images
    for rgb, truth in zip(images.rgb, images.labels, strict=True):
        scored = np.where(truth < len(session.classes), truth, len(session.classes))
        yield observe(session, Frame(0, "", rgb), domain, scored.astype(np.uint16))
    session.forget()


def _rules(session: Session, fitted: Mapping[str, float]) -> dict[str, Strategy]:
    given = session.live.retrieval
    plain = replace(given, null_distance=-1.0)
    rules: dict[str, Strategy] = {SEMLA: partial(_semla, session, plain)}
    if given.null_distance > 0:
        rules[AS_BUNDLED] = partial(_semla, session, given)
    rules[FITTED] = lambda seen: _semla(
        session, replace(plain, null_distance=fitted[seen.domain]), seen
    )
    for count in CENTROIDS:
        banks = _banks(session, count)
        rules[f"{count} centroids a domain"] = partial(_nearest_of, session, plain, banks)
    return rules


def _semla(session: Session, settings: RetrievalSettings, seen: Observation) -> AdapterMix | None:
    return semla_mix(session.names, seen, settings)


def _banks(session: Session, count: int) -> tuple[CentroidBank, ...]:
    """Return a bank of `count` centroids for each adapter."""
    statistics = session.parts.library.statistics
    banks = []
    for name in session.names:
        sample = statistics[name].sample
        if sample is None or len(sample.embeddings) < count:
            raise ConfigError(f"expected {count} images or more of {name!r} in the library")
        points = sample.embeddings.astype(np.float64)
        labels = kmeans(points, count)
        centres = np.stack([points[labels == each].mean(axis=0) for each in np.unique(labels)])
        banks.append(CentroidBank(tuple(map(str, range(len(centres)))), centres))
    return tuple(banks)


def _nearest_of(
    session: Session,
    settings: RetrievalSettings,
    banks: Sequence[CentroidBank],
    seen: Observation,
) -> AdapterMix | None:
    point = seen.known_embedding
    nearest = np.array([euclidean(point, bank).min() for bank in banks])
    other = replace(seen, distances=nearest)
    return semla_mix(session.names, other, settings)


def _fitted_null(session: Session, judge: _Judge, scenes: Scenes, *, without: str) -> float:
    """Return the null distance, -1 for none, that serves the domains but `without` best.

    Neither the frames nor the adapter of `without` take part.
    """
    others = {
        domain: [replace(s, excluded=s.excluded | {without}) for s in seen]
        for domain, seen in scenes.items()
        if domain != without
    }
    plain = replace(session.live.retrieval, null_distance=-1.0)
    tries = [-1.0, *np.quantile(_foreign(session, others), NULL_QUANTILES)]
    scores = [
        judge.h_mean(others, partial(_semla, session, replace(plain, null_distance=float(null))))
        for null in tries
    ]
    return float(tries[int(np.argmax(scores))])


def _foreign(session: Session, scenes: Scenes) -> Float64Array:
    """Return each frame's distance to the nearest adapter that may serve it."""
    return np.array(
        [
            min(d for d, n in zip(s.distances, session.names, strict=True) if n not in s.excluded)
            for seen in scenes.values()
            for s in seen
        ]
    )


def _row(name: str, values: Float64Array, semla: Float64Array) -> dict[str, Cell]:
    row: dict[str, Cell] = {"retrieval": name, "semla_leave_one_out": _spread(values)}
    if name != SEMLA:
        row["difference"] = _spread(values - semla, sign="+")
    return row


def _spread(values: Float64Array, *, sign: str = "") -> str:
    return f"{values.mean():{sign}.2f} ± {values.std(ddof=1):.2f}"
