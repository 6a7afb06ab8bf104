"""`semla bench retrieval`: other ways from an embedding to a mix, own domain left out.

SemLA's retrieval is held against two ideas on scenes of the demo world that no adapter has seen: a
null adapter whose distance is fitted without the domain that is judged, and several centroids a
domain.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from semla_ros.bench.record import BenchRecord, Cell
from semla_ros.bundle import open_bundle
from semla_ros.core.config import Config
from semla_ros.core.errors import ConfigError
from semla_ros.core.types import AdapterMix, Float64Array, UInt8Array
from semla_ros.demo.model.experiment import MixOf, score, spread_cell
from semla_ros.demo.model.recipe import Recipe
from semla_ros.demo.model.scenes import DomainScenes, render_domains, render_test_set
from semla_ros.demo.world import DOMAINS
from semla_ros.evaluation.analysis.gaps import kmeans
from semla_ros.library.retrieval import RetrievalSettings, retrieve, settings_from
from semla_ros.navigator.distance import CentroidBank, euclidean
from semla_ros.pipeline import default_bundle
from semla_ros.prepare.training.runner import Runner

SEMLA, BUNDLED, FITTED = "SemLA", "null adapter, the bundle's", "null adapter, fitted"
CENTROIDS = (2, 4, 8)
NULL_QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Null distances to try: quantiles of the distance to the nearest adapter of another domain."""
FITTED_EVERY = 3
"""Only every so many validation scenes are segmented to fit it."""
NEVER = -1.0


@dataclass(frozen=True, slots=True)
class RetrievalRequest:
    """How much is tried.

    Attributes:
        bundle: With a library of the demo world's domains; None for the demo bundle.
        scenes: Of each domain in each set, >= 1.
        sets: Disjoint sets of scenes, >= 2: their spread is what a difference must exceed.
        domains: Of the world; the library holds these alone, at least three.
    """

    bundle: Path | None = None
    scenes: int = 30
    sets: int = 3
    domains: tuple[str, ...] = DOMAINS

    def __post_init__(self) -> None:
        if self.scenes < 1 or self.sets < 2:
            raise ConfigError(
                f"expected scenes >= 1 and sets >= 2, got {self.scenes!r} and {self.sets!r}"
            )
        if len(set(self.domains)) < 3 or set(self.domains) - set(DOMAINS):
            raise ConfigError(
                f"expected three domains or more of {DOMAINS!r}, got {self.domains!r}"
            )


def run_retrieval(request: RetrievalRequest, *, command: str) -> BenchRecord:
    """Return the record: percent, mean over sets and its spread, difference to SemLA.

    Raises:
        SemlaError: The bundle has no library of the world's domains, or cannot be used.
    """
    with _runner(request) as runner:
        nulls = _fitted_nulls(runner, request.domains)
        rules = _rules(runner, nulls)
        found: dict[str, list[float]] = {name: [] for name in rules}
        for number in range(request.sets):
            scenes = render_test_set(number, count=request.scenes, domains=request.domains)
            scores = score(runner, scenes, _plain(runner), strategies=tuple(rules), others=rules)
            for name, values in found.items():
                values.append(scores.h_mean(name))
    told = ", ".join(f"{d}: {'never' if v < 0 else f'{v:.1f}'}" for d, v in nulls.items())
    return BenchRecord(
        "From embeddings to mixes",
        command,
        tuple(
            {"adapters": len(request.domains), **_row(name, values, found[SEMLA])}
            for name, values in found.items()
        ),
        notes=(
            "Harmonic means over domains of mIoU in percent, the frame's own adapter left out; ± "
            "is the standard deviation over sets of scenes, of the difference set by set.",
            "The fitted null distance of a domain is that which serves the others best on "
            f"validation scenes, its adapter not being there; {told}.",
            "Several centroids are k-means of the images that the library keeps of a domain; the "
            "nearest one counts.",
        ),
    )


@contextmanager
def _runner(request: RetrievalRequest) -> Iterator[Runner]:
    """Yield what runs a copy of the bundle whose library holds the request's domains alone."""
    bundle = open_bundle(request.bundle or default_bundle(), verify=False)
    with tempfile.TemporaryDirectory(prefix="semla-bench-") as scratch:
        copy = Path(scratch) / "bundle"
        shutil.copytree(bundle.root, copy, ignore=shutil.ignore_patterns("library"))
        for domain in request.domains:
            if not (bundle.library / domain).is_dir():
                raise ConfigError(
                    f"expected a library of the demo world's domains, lacking {domain!r}"
                )
            shutil.copytree(bundle.library / domain, copy / "library" / domain)
        runner = Runner.open(open_bundle(copy, verify=False), threads=1)
        try:
            yield runner
        finally:
            runner.close()


def _given(runner: Runner) -> RetrievalSettings:
    return settings_from(Config(), runner.bundle.manifest.defaults)


def _plain(runner: Runner) -> RetrievalSettings:
    return replace(_given(runner), null_distance=NEVER)


def _rules(runner: Runner, nulls: Mapping[str, float]) -> dict[str, MixOf]:
    """Return rule -> (target domain, image) -> mix."""
    plain, given = _plain(runner), _given(runner)

    def by_distance(settings: RetrievalSettings) -> MixOf:
        return lambda d, rgb: _mix(runner, _away(runner, rgb), settings, without={d})

    def fitted(domain: str, rgb: UInt8Array) -> AdapterMix:
        return by_distance(replace(plain, null_distance=nulls[domain]))(domain, rgb)

    rules: dict[str, MixOf] = {SEMLA: by_distance(plain), FITTED: fitted}
    if given.null_distance > 0:
        rules[BUNDLED] = by_distance(given)
    return rules | {f"{k} centroids a domain": _by_nearest(runner, k) for k in CENTROIDS}


def _by_nearest(runner: Runner, count: int) -> MixOf:
    """Return the rule that takes the nearest of `count` centroids for a domain's distance."""
    banks = [_bank(runner, name, count) for name in runner.library.names]

    def choose(domain: str, rgb: UInt8Array) -> AdapterMix:
        point = runner.embed(rgb)
        away = np.array([euclidean(point, bank).min() for bank in banks])
        return _mix(runner, away, _plain(runner), without={domain})

    return choose


def _bank(runner: Runner, name: str, count: int) -> CentroidBank:
    sample = runner.library.statistics[name].sample
    if sample is None or len(sample.embeddings) < count:
        raise ConfigError(f"expected {count} images or more of {name!r} in the library")
    points = sample.embeddings.astype(np.float64)
    labels = kmeans(points, count)
    centres = np.stack([points[labels == each].mean(axis=0) for each in np.unique(labels)])
    return CentroidBank(tuple(map(str, range(len(centres)))), centres)


def _fitted_nulls(runner: Runner, domains: Sequence[str]) -> dict[str, float]:
    """Return for each domain the null distance that serves the others best without it."""
    recipe = Recipe()
    scenes = [
        each.every(FITTED_EVERY)
        for each in render_domains(
            first_seed=recipe.seeds.validation,
            count=recipe.validation_scenes,
            title="validation",
            domains=domains,
        )
    ]
    return {each.domain: _fitted_null(runner, scenes, without=each.domain) for each in scenes}


def _fitted_null(runner: Runner, scenes: Sequence[DomainScenes], *, without: str) -> float:
    """Return the best null distance; neither frames nor adapter of `without` take part."""
    others = [each for each in scenes if each.domain != without]
    foreign = [
        min(
            d
            for d, n in zip(_away(runner, rgb), runner.library.names, strict=True)
            if n not in gone
        )
        for each in others
        for gone in ({each.domain, without},)
        for rgb in each.images.rgb
    ]
    tries = [NEVER, *np.quantile(foreign, NULL_QUANTILES).tolist()]
    rules = {f"{null:g}": _with_null(runner, null, without) for null in tries}
    scores = score(
        runner, others, _plain(runner), strategies=tuple(rules), others=rules, title=without
    )
    means = [scores.h_mean(name) for name in rules]
    return float(tries[int(np.argmax(means))])


def _with_null(runner: Runner, null: float, without: str) -> MixOf:
    settings = replace(_plain(runner), null_distance=null)
    return lambda d, rgb: _mix(runner, _away(runner, rgb), settings, without={d, without})


def _away(runner: Runner, rgb: UInt8Array) -> Float64Array:
    return runner.distances(runner.embed(rgb))


def _mix(
    runner: Runner, away: Float64Array, settings: RetrievalSettings, *, without: set[str]
) -> AdapterMix:
    chosen = replace(settings, exclude=frozenset(without))
    return retrieve(runner.library.names, away, settings=chosen)


def _row(name: str, values: Sequence[float], semla: Sequence[float]) -> dict[str, Cell]:
    row: dict[str, Cell] = {"retrieval": name, "semla_leave_one_out": spread_cell(values)}
    if name != SEMLA:
        row["difference"] = spread_cell([v - s for v, s in zip(values, semla, strict=True)])
    return row
