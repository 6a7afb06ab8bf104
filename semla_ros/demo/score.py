"""What adaptation was worth on the drive: the live masks against the base alone, per domain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from semla_ros.core.config import Config, updated
from semla_ros.core.types import LabelArray
from semla_ros.data.metrics import (
    Int64Array,
    frame_counts,
    harmonic_mean,
    mean_iou,
    percentiles,
)
from semla_ros.demo.footage import Answers, Footage
from semla_ros.pipeline import build_pipeline
from semla_ros.processes.live import LiveRun


@dataclass(frozen=True, slots=True)
class DomainScore:
    """One domain of the drive.

    Attributes:
        frames: Scored frames: those that the node answered.
        without: mIoU of the base alone, percent; NaN without a frame.
        adapted: mIoU of what the node published, percent; NaN without a frame.
        support: Mean smoothed support score, NaN without one.
    """

    frames: int
    without: float
    adapted: float
    support: float


@dataclass(frozen=True, slots=True)
class DriveScore:
    """The whole drive.

    Attributes:
        sent: Images published by the camera.
        received: Of these, masks that came back.
        latency_ms: p50, p95, p99 from image to mask, both as they reached the recorder.
        domains: By domain, in order of appearance.
    """

    sent: int
    received: int
    latency_ms: Mapping[str, float]
    domains: Mapping[str, DomainScore]

    @property
    def without(self) -> float:
        """h-mean over domains of the base alone, percent; NaN where a domain was not answered."""
        return _over_domains([d.without for d in self.domains.values()])

    @property
    def adapted(self) -> float:
        """h-mean over domains of the live masks, percent; NaN where a domain was not answered."""
        return _over_domains([d.adapted for d in self.domains.values()])


def _over_domains(values: Sequence[float]) -> float:
    return harmonic_mean(values) if np.isfinite(values).all() else math.nan


def score_drive(
    footage: Footage, run: LiveRun, answers: Answers, *, bundle: Path | None = None
) -> DriveScore:
    """Return the scores; the base alone segments the very frames that the node answered."""
    replayed = replayed_masks(footage, {"swap_policy": "never", "bundle": str(bundle or "")})
    base = {stamp: mask for stamp, mask in replayed.items() if stamp in answers.by_stamp}
    live, alone = domain_counts(footage, live_masks(answers)), domain_counts(footage, base)
    supports: dict[str, list[float]] = {domain: [] for domain in live}
    for stamp, domain in footage.domain_of.items():
        if stamp in answers.by_stamp:
            reading = answers.by_stamp[stamp].result.support
            supports[domain].append(reading.smoothed if reading else math.nan)
    domains = {
        domain: DomainScore(
            len(supports[domain]),
            100 * float(mean_iou(alone[domain])),
            100 * float(mean_iou(counts)),
            _mean([support for support in supports[domain] if math.isfinite(support)]),
        )
        for domain, counts in live.items()
    }
    latencies = [a.latency_ms for a in answers.by_stamp.values()]
    return DriveScore(len(run.sent), len(answers.by_stamp), percentiles(latencies), domains)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def live_masks(answers: Answers) -> dict[int, LabelArray]:
    """Return stamp -> mask, as published."""
    return {stamp: answer.result.labels for stamp, answer in answers.by_stamp.items()}


def replayed_masks(footage: Footage, changes: Mapping[str, object]) -> dict[int, LabelArray]:
    """Return stamp -> mask of what the pipeline answers with `changes`, everything inline."""
    config = updated(Config(), {"adaptation": "inline", **changes})
    with build_pipeline(config) as pipeline:
        frames = tqdm(footage.frames, desc="replay", mininterval=5.0)
        return {frame.stamp_ns: pipeline.step(frame).labels for frame in frames}


def domain_counts(footage: Footage, masks: Mapping[int, LabelArray]) -> dict[str, Int64Array]:
    """Return domain -> (3, T) counts of the frames that have a mask, in order of appearance.

    A domain without any has zeros: it is not scored, but it was driven through.
    """
    classes = 1 + max(int(labels.max()) for labels in footage.labels)
    found = {d: np.zeros((3, classes), np.int64) for d in dict.fromkeys(footage.domains)}
    for frame, truth, domain in zip(footage.frames, footage.labels, footage.domains, strict=True):
        if frame.stamp_ns in masks:
            found[domain] += frame_counts(truth, masks[frame.stamp_ns], classes=classes)
    return found
