"""The headline numbers of a study as plain data: what `results.json` shows first."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np

from semla_ros.evaluation.metrics import class_iou, mean_iou
from semla_ros.evaluation.study.record import RecordingTrack, Study
from semla_ros.evaluation.study.scores import domain_counts, means_over, scored_domains
from semla_ros.evaluation.study.sequence import sequence_metrics


def summary(study: Study) -> dict[str, Any]:
    """Return the headline numbers as plain data; mIoU in [0, 1], None-able NaN where unscored."""
    return {
        "frames": study.frames,
        "scored": int(sum(r.scored.sum() for r in study.recordings)),
        "skipped": sum(len(r.skipped) for r in study.recordings),
        "complete": study.complete,
        "sequence": {r.name: _sequence(study, r) for r in study.recordings if any(r.domains)},
        "strategies": {name: _strategy(study, name) for name in study.info.strategies},
    }


def _strategy(study: Study, name: str) -> dict[str, Any]:
    counts = domain_counts(study, name)
    domains = scored_domains(study)
    miou = dict.fromkeys(domains, math.nan) | {
        domain: float(mean_iou(each)) for domain, each in counts.items()
    }
    tracks = [r.tracks[name] for r in study.recordings if name in r.tracks]
    total = np.sum([*counts.values()], axis=0) if counts else None
    iou = [] if total is None else class_iou(total).tolist()
    return {
        **means_over(miou, study.info.excluded),
        "pooled_miou": math.nan if total is None else float(mean_iou(total)),
        "domains": miou,
        "classes": dict(zip(study.info.classes, iou, strict=False)),
        "swaps": int(sum(t.swapped.sum() for t in tracks)),
        "frames": int(sum(len(t.swapped) for t in tracks)),
    }


def _sequence(study: Study, recording: RecordingTrack) -> dict[str, Any]:
    """Return strategy -> its metrics over the drive."""
    info = study.info
    return {
        name: asdict(sequence_metrics(recording, name, info.adapters, leave_out=info.leave_out))
        for name in recording.tracks
    }
