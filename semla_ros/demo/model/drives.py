"""Drives through the procedural world as studies: what the pipeline answered, and the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from semla_ros.answers import SegmentationResult
from semla_ros.bundle import ModelBundle
from semla_ros.config import Config, updated
from semla_ros.demo.world import CLASSES, DOMAINS, Drive
from semla_ros.evaluation.analysis.rerun import without
from semla_ros.evaluation.metrics import confusion_counts
from semla_ros.evaluation.replay import mask_crc32
from semla_ros.evaluation.study.record import (
    GATED,
    Int64Array,
    RecordingTrack,
    StrategyTrack,
    Study,
    StudyInfo,
)
from semla_ros.navigator.distance import CentroidBank, euclidean, novelties
from semla_ros.navigator.encoder import OnnxImageEncoder
from semla_ros.pipeline import AdaptivePipeline, build_pipeline
from semla_ros.pipeline.settings import LiveSettings, bank_of
from semla_ros.types import BASE, Float32Array, Frame, LabelArray

FPS = 5.0


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


def unknown_weather(first_seed: int, *, count: int, seconds: float) -> tuple[Route, ...]:
    """Return `count` drives in each domain without the adapter of that domain."""
    return tuple(
        Route(first_seed + 100 * place + i, (domain,), seconds, (domain,))
        for place, domain in enumerate(DOMAINS)
        for i in range(count)
    )


@dataclass(frozen=True, slots=True)
class _Eye:
    """What looks at each frame by itself, without filter."""

    encoder: OnnxImageEncoder
    bank: CentroidBank


def drive_study(bundle: ModelBundle, routes: Sequence[Route], *, threads: int = 2) -> Study:
    """Return what the pipeline, as the robot runs it, answers on `routes`.

    Raises:
        SemlaError: The bundle does not run.
    """
    recordings = []
    defaults = bundle.manifest.defaults
    encoder = OnnxImageEncoder(bundle, threads=threads)
    adapters: tuple[str, ...] = ()
    threshold = defaults.out_of_library
    for route in tqdm(routes, desc="drives", mininterval=5.0):
        changes = {
            "bundle": str(bundle.root),
            "adaptation": "inline",
            "engine": "onnx",
            "threads": threads,
            "exclude": ",".join(route.exclude),
        }
        with build_pipeline(updated(Config(), changes)) as pipeline:
            eye = _Eye(encoder, bank_of(pipeline.library, distance="euclidean"))
            recordings.append(_driven(pipeline, route, eye))
            adapters = pipeline.library.names
            threshold = LiveSettings.of(pipeline.config, defaults).threshold(eye.bank.alarm)
    info = StudyInfo(
        bundle=bundle.manifest.name,
        bundle_sha256="",
        engine="onnx",
        classes=CLASSES,
        adapters=adapters,
        strategies=(GATED,),
        parameters={
            name: getattr(defaults, name)
            for name in ("temperature", "top_k", "distance", "similarity", "null_distance")
        },
        support_low=defaults.support_low,
        out_of_library=threshold,
    )
    return Study(info, tuple(recordings))


def _driven(pipeline: AdaptivePipeline, route: Route, eye: _Eye) -> RecordingTrack:
    drive = Drive(route.seed, fps=FPS, segments=tuple((d, route.seconds) for d in route.domains))
    answers: list[SegmentationResult] = []
    counts, domains, embeddings = [], [], []
    for i in range(len(drive)):
        shot = drive.frame(i)
        answers.append(pipeline.step(Frame(shot.stamp_ns, "camera", shot.image.rgb)))
        counts.append(_counts(shot.image.labels, answers[-1]))
        domains.append(shot.domain)
        embeddings.append(eye.encoder.encode(shot.image.rgb))
    supports = [a.support for a in answers]
    bank = without(eye.bank, route.exclude)
    return RecordingTrack(
        source=route.name,
        name=route.name,
        topic="",
        stamps_ns=np.array([a.stamp_ns for a in answers], np.int64),
        domains=tuple(domains),
        scored=np.ones(len(answers), np.bool_),
        embeddings=np.stack(embeddings),
        distances=np.stack([euclidean(e, eye.bank) for e in embeddings]),
        novelty=np.array([_novelty(e, bank) for e in embeddings]),
        support=np.array([math.nan if s is None else s.score for s in supports]),
        smoothed=np.array([math.nan if s is None else s.smoothed for s in supports]),
        levels=tuple("" if s is None else s.level for s in supports),
        tracks={GATED: _track(answers, np.stack(counts), eye.bank.names)},
    )


def _track(
    answers: Sequence[SegmentationResult], counts: Int64Array, adapters: tuple[str, ...]
) -> StrategyTrack:
    columns = {name: i for i, name in enumerate((*adapters, BASE))}
    weights = np.zeros((len(answers), len(columns)), np.float32)
    for row, answer in zip(weights, answers, strict=True):
        for name, weight in zip(answer.mix.names, answer.mix.weights, strict=True):
            row[columns[name]] = weight
    return StrategyTrack(
        strategy=GATED,
        counts=counts,
        weights=weights,
        confidence=np.array([a.confidence.mean() / 255 for a in answers], np.float32),
        mask_crc32=np.array([mask_crc32(a.labels) for a in answers], np.uint32),
        swapped=np.array([any(s.committed for s in a.swaps) for a in answers]),
    )


def _counts(truth: LabelArray, answer: SegmentationResult) -> Int64Array:
    matrix = confusion_counts(truth, answer.labels, classes=len(CLASSES))
    chosen = matrix[:, : len(CLASSES)]
    hits = np.diagonal(chosen)
    return np.stack([hits, chosen.sum(axis=0) - hits, matrix.sum(axis=1) - hits])


def _novelty(embedding: Float32Array, bank: CentroidBank) -> float:
    found = novelties(embedding, bank)
    return math.nan if found is None or not found.size else float(found.min())
