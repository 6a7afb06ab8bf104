"""mIoU of a study: counts summed over frames, per strategy and domain."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from semla_ros.evaluation.metrics import Int64Array, arithmetic_mean, harmonic_mean
from semla_ros.evaluation.study.record import Study


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
