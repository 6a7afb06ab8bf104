"""mIoU of a study from counts summed over frames, and its headline numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from semla_ros.data.metrics import (
    Int64Array,
    arithmetic_mean,
    class_iou,
    harmonic_mean,
    mean_iou,
)
from semla_ros.evaluation.study.sequence import SequenceMetrics, sequence_metrics
from semla_ros.evaluation.study.study import SequenceResult, Study


def domain_counts(study: Study, strategy: str) -> dict[str, Int64Array]:
    """Return domain -> (3, T) counts over the scored frames of all recordings, by name.

    Frames without a domain count as the domain named like their recording.
    """
    sums: dict[str, Int64Array] = {}
    for recording in study.recordings:
        result = recording.results.get(strategy)
        if result is None:
            continue
        for domain in map(str, np.unique(recording.places[recording.scored])):
            chosen = recording.scored & (recording.places == domain)
            added = result.counts[chosen].sum(axis=0)
            sums[domain] = sums[domain] + added if domain in sums else added
    return dict(sorted(sums.items()))


def scored_domains(study: Study) -> tuple[str, ...]:
    """Return the domains that have scored frames, sorted."""
    domains = {d for r in study.recordings for d in r.places[r.scored].tolist()}
    return tuple(sorted(domains))


def means_over(values: Mapping[str, float], excluded: tuple[str, ...]) -> dict[str, float]:
    """Return `h_mean` and `mean` over the domains that count.

    NaN without any, or where one has no mIoU: means over different domains do not compare.

    Args:
        values: Domain -> mIoU.
        excluded: Domains left out.
    """
    kept = [v for d, v in values.items() if d not in excluded]
    if not kept or any(map(math.isnan, kept)):
        return {"h_mean": math.nan, "mean": math.nan}
    return {"h_mean": harmonic_mean(kept), "mean": arithmetic_mean(kept)}


def summary(study: Study) -> dict[str, Any]:
    """Return the headline numbers; mIoU in [0, 1], NaN where unscored."""
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
    results = [r.results[name] for r in study.recordings if name in r.results]
    total = np.sum([*counts.values()], axis=0) if counts else None
    iou = [] if total is None else class_iou(total).tolist()
    return {
        **means_over(miou, study.info.excluded),
        "pooled_miou": math.nan if total is None else float(mean_iou(total)),
        "domains": miou,
        "classes": dict(zip(study.info.classes, iou, strict=False)),
        "swaps": int(sum(t.swapped.sum() for t in results)),
        "frames": int(sum(len(t.swapped) for t in results)),
    }


def _sequence(study: Study, recording: SequenceResult) -> dict[str, SequenceMetrics]:
    """Return strategy -> its metrics over the drive."""
    info = study.info
    return {
        name: sequence_metrics(recording, name, info.adapters, leave_out=info.leave_out)
        for name in recording.results
    }
