"""Drives through the procedural world as studies: what the pipeline answered, and the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

import numpy as np
from tqdm import tqdm

from semla_ros.bundle import ModelBundle
from semla_ros.core.answers import SegmentationResult, known
from semla_ros.core.config import Config, updated
from semla_ros.core.types import Float32Array, Frame
from semla_ros.demo.world import CLASSES, DOMAINS, Drive
from semla_ros.evaluation.analysis.rerun import without
from semla_ros.evaluation.study.observation import FrameScore, score_frame
from semla_ros.evaluation.study.strategies import mix_row
from semla_ros.evaluation.study.study import (
    GATED,
    SequenceResult,
    StrategyResult,
    Study,
    StudyInfo,
)
from semla_ros.library.library import AdapterLibrary
from semla_ros.navigator.distance import CentroidBank, euclidean, novelties
from semla_ros.navigator.encoder import OnnxImageEncoder
from semla_ros.pipeline import build_pipeline
from semla_ros.pipeline.library_view import bank_of
from semla_ros.pipeline.settings import LiveSettings

FPS = 5.0
FAMILIES = ("clear", "fog", "rain", "snow", "day", "night")


@dataclass(frozen=True, slots=True)
class Route:
    """One drive to be made.

    Attributes:
        seed: Names street, traffic and weather.
        domains: Visited in this order.
        seconds: Spent in each.
        exclude: Adapters the pipeline may not use; empty: the whole library.
    """

    seed: int
    domains: tuple[str, ...]
    seconds: float
    exclude: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Short and unique."""
        without = f"-without-{'+'.join(self.exclude)}" if self.exclude else ""
        where = self.domains[0] if len(self.domains) == 1 else "tour"
        return f"{where}-{self.seed}{without}"


def tours(first_seed: int, *, count: int, seconds: float) -> tuple[Route, ...]:
    """Return drives through every domain, each in an order of its own, with the whole library."""
    routes = []
    for seed in range(first_seed, first_seed + count):
        order = np.random.default_rng([61, seed]).permutation(len(DOMAINS))
        routes.append(Route(seed, tuple(DOMAINS[i] for i in order), seconds))
    return tuple(routes)


def unknown_families(first_seed: int, *, seconds: float) -> tuple[Route, ...]:
    """Return a drive in every domain of every family (all fog, all night, …) without any of it."""
    routes = []
    for place, family in enumerate(FAMILIES):
        gone = tuple(d for d in DOMAINS if family in d.split("-"))
        routes += [
            Route(first_seed + 100 * place + i, (domain,), seconds, gone)
            for i, domain in enumerate(gone)
        ]
    return tuple(routes)


def unknown_weather(first_seed: int, *, count: int, seconds: float) -> tuple[Route, ...]:
    """Return `count` drives in each domain without the adapter of that domain."""
    return tuple(
        Route(first_seed + 100 * place + i, (domain,), seconds, (domain,))
        for place, domain in enumerate(DOMAINS)
        for i in range(count)
    )


def drive_study(bundle: ModelBundle, routes: Sequence[Route], *, threads: int = 2) -> Study:
    """Return what the pipeline, as the robot runs it, answers on `routes`.

    Args:
        bundle: The model.
        routes: Each is driven by one process with one thread, so that answers do not depend on
            how many there are.
        threads: Processes at once.

    Raises:
        SemlaError: The bundle does not run.
    """
    drive = partial(_driven, bundle)
    if threads == 1:
        recordings = [drive(route) for route in tqdm(routes, desc="drives", mininterval=5.0)]
    else:
        with ProcessPoolExecutor(threads, mp_context=get_context("spawn")) as pool:
            done = pool.map(drive, routes)
            recordings = list(tqdm(done, desc="drives", total=len(routes), mininterval=5.0))
    defaults, library = bundle.manifest.defaults, AdapterLibrary.of(bundle)
    alarm = bank_of(library, distance="euclidean").alarm
    info = StudyInfo(
        bundle=bundle.manifest.name,
        bundle_sha256="",
        engine="onnx",
        classes=CLASSES,
        adapters=library.names,
        strategies=(GATED,),
        parameters={
            name: getattr(defaults, name)
            for name in ("temperature", "top_k", "distance", "similarity", "null_distance")
        },
        support_low=defaults.support_low,
        out_of_library=LiveSettings.of(Config(), defaults).threshold(alarm),
    )
    return Study(info, tuple(recordings))


def _driven(bundle: ModelBundle, route: Route) -> SequenceResult:
    changes = {
        "bundle": str(bundle.root),
        "adaptation": "inline",
        "engine": "onnx",
        "output_size": "model",
        "threads": 1,
        "exclude": ",".join(route.exclude),
    }
    drive = Drive(route.seed, fps=FPS, segments=tuple((d, route.seconds) for d in route.domains))
    encoder = OnnxImageEncoder(bundle, threads=1)
    answers: list[SegmentationResult] = []
    scores, domains, embeddings = [], [], []
    with build_pipeline(updated(Config(), changes)) as pipeline:
        whole = bank_of(pipeline.library, distance="euclidean")
        for i in range(len(drive)):
            shot = drive.frame(i)
            rgb, truth = shot.image.rgb, shot.image.labels
            made = pipeline.step(Frame(shot.stamp_ns, "camera", rgb))
            answers.append(made)
            scores.append(
                score_frame(
                    made.labels,
                    made.confidence,
                    size=truth.shape,
                    truth=truth,
                    classes=len(CLASSES),
                )
            )
            domains.append(shot.domain)
            embeddings.append(encoder.encode(rgb))
    supports = [known(a.support) for a in answers]
    bank = without(whole, route.exclude)
    return SequenceResult(
        source=route.name,
        name=route.name,
        topic="",
        stamps_ns=np.array([a.stamp_ns for a in answers], np.int64),
        domains=tuple(domains),
        scored=np.ones(len(answers), np.bool_),
        embeddings=np.stack(embeddings),
        distances=np.stack([euclidean(e, whole) for e in embeddings]),
        novelty=np.array([_novelty(e, bank) for e in embeddings]),
        support=np.array([math.nan if s is None else s.score for s in supports]),
        smoothed=np.array([math.nan if s is None else s.smoothed for s in supports]),
        levels=tuple("" if s is None else s.level for s in supports),
        results={GATED: _track(answers, scores, whole.names)},
    )


def _track(
    answers: Sequence[SegmentationResult], scores: Sequence[FrameScore], adapters: tuple[str, ...]
) -> StrategyResult:
    return StrategyResult(
        strategy=GATED,
        counts=np.stack([score.counts for score in scores]),
        weights=np.stack([mix_row(answer.mix, adapters) for answer in answers]),
        signals=np.array([score.signals for score in scores]),
        mask_crc32=np.array([score.mask_crc32 for score in scores], np.uint32),
        swapped=np.array([any(s.committed for s in a.swaps) for a in answers]),
    )


def _novelty(embedding: Float32Array, bank: CentroidBank) -> float:
    found = novelties(embedding, bank)
    return math.nan if found is None or not found.size else float(found.min())
