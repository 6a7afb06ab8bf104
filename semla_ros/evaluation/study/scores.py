"""mIoU of a study: counts summed over frames, per strategy and domain."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from semla_ros.evaluation.metrics import arithmetic_mean, harmonic_mean
from semla_ros.evaluation.study.record import Int64Array, Study
from semla_ros.types import Float64Array

_TP, _FP, _FN = range(3)


def iou_of(counts: Int64Array) -> Float64Array:
    """Return the IoU of each class in [0, 1], (..., T) float64; NaN without ground truth.

    Args:
        counts: (..., 3, T): true positives, false positives, false negatives.
    """
    hits, false, missed = (counts[..., i, :].astype(np.float64) for i in (_TP, _FP, _FN))
    union = hits + false + missed
    present = hits + missed > 0
    iou: Float64Array = np.where(present, hits / np.where(union > 0, union, 1.0), np.nan)
    return iou


def miou_of(counts: Int64Array) -> Float64Array:
    """Return the mean IoU over classes with ground truth, (...,) float64; NaN if there is none.

    Args:
        counts: (..., 3, T), as `iou_of` takes them.
    """
    iou = iou_of(counts)
    present = ~np.isnan(iou)
    number = present.sum(axis=-1)
    total = np.where(present, iou, 0.0).sum(axis=-1)
    mean: Float64Array = np.where(number > 0, total / np.maximum(number, 1), np.nan)
    return mean


def domain_counts(study: Study, strategy: str) -> dict[str, Int64Array]:
    """Return domain -> (3, T) counts over the scored frames of all recordings, by name.

    Frames without a domain count as the domain named like their recording.
    """
    sums: dict[str, Int64Array] = {}
    for recording in study.recordings:
        track = recording.tracks.get(strategy)
        if track is None:
            continue
        domains = np.array([d or recording.name for d in recording.domains], dtype=object)
        for domain in dict.fromkeys(domains[recording.scored]):
            chosen = recording.scored & (domains == domain)
            added = track.counts[chosen].sum(axis=0)
            sums[domain] = sums[domain] + added if domain in sums else added
    return dict(sorted(sums.items()))


def scored_domains(study: Study) -> tuple[str, ...]:
    """Return the domains that have scored frames, sorted."""
    return tuple(
        sorted(
            {
                domain or recording.name
                for recording in study.recordings
                for domain, scored in zip(recording.domains, recording.scored, strict=True)
                if scored
            }
        )
    )


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
