"""What adaptation was worth on the drive: the live masks against the base alone, per domain."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from semla_ros.core.config import Config, updated
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
        frames: Scored frames.
        without: mIoU of the base alone, percent.
        adapted: mIoU of what the node published, percent.
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
        """h-mean over domains of the base alone, percent."""
        return harmonic_mean(d.without for d in self.domains.values())

    @property
    def adapted(self) -> float:
        """h-mean over domains of the live masks, percent."""
        return harmonic_mean(d.adapted for d in self.domains.values())


def score_drive(
    footage: Footage, run: LiveRun, answers: Answers, *, bundle: Path | None = None
) -> DriveScore:
    """Return the scores; the base alone segments the very frames that the node answered."""
    changes = {"adaptation": "inline", "swap_policy": "never", "bundle": str(bundle or "")}
    classes = _class_count(footage)
    live: dict[str, Int64Array] = {}
    base: dict[str, Int64Array] = {}
    supports: dict[str, list[float]] = {}
    with build_pipeline(updated(Config(), changes)) as pipeline:
        shots = list(zip(footage.frames, footage.labels, footage.domains, strict=True))
        for frame, truth, domain in tqdm(shots, desc="base alone", mininterval=5.0):
            answer = answers.by_stamp.get(frame.stamp_ns)
            if answer is None:
                continue
            alone = pipeline.step(frame).labels
            for counts, mask in ((live, answer.result.labels), (base, alone)):
                found = frame_counts(truth, mask, classes=classes)
                counts[domain] = counts[domain] + found if domain in counts else found
            reading = answer.result.support
            supports.setdefault(domain, []).append(reading.smoothed if reading else math.nan)
    domains = {
        domain: DomainScore(
            len(supports[domain]),
            100 * float(mean_iou(base[domain])),
            100 * float(mean_iou(counts)),
            float(np.nanmean(supports[domain])),
        )
        for domain, counts in live.items()
    }
    latencies = [a.latency_ms for a in answers.by_stamp.values()]
    return DriveScore(len(run.sent), len(answers.by_stamp), percentiles(latencies), domains)


def _class_count(footage: Footage) -> int:
    return 1 + max(int(labels.max()) for labels in footage.labels)
