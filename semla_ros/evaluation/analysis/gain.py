"""How much one strategy gains over another, with an interval that respects time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from semla_ros.data.metrics import Int64Array, mean_iou
from semla_ros.evaluation.study.scores import means_over
from semla_ros.evaluation.study.study import Study

CHUNK = 20
"""Consecutive frames that are drawn together: neighbours resemble each other."""
RESAMPLES = 400
MARGIN = 0.5


@dataclass(frozen=True, slots=True)
class Gain:
    """h-mean of `strategy` minus h-mean of `reference`, in percentage points.

    Attributes:
        strategy, reference: Their names.
        points: The difference; NaN where one has no score.
        low, high: 95 % interval of a block bootstrap.
        better, worse: Domains that gain or lose more than `MARGIN` points.
    """

    strategy: str
    reference: str
    points: float
    low: float
    high: float
    better: tuple[str, ...]
    worse: tuple[str, ...]


def gain(study: Study, strategy: str, reference: str, *, seed: int = 0) -> Gain | None:
    """Return the gain over the domains that both scored; None without a common one.

    The interval comes from drawing chunks of consecutive frames with replacement, within each
    domain, the same chunks for both.
    """
    chunks = _chunks(study, strategy, reference)
    if not chunks:
        return None
    whole = {d: each.sum(axis=0) for d, each in chunks.items()}
    scores = {d: 100 * mean_iou(each) for d, each in whole.items()}  # (2,) each
    change = {d: float(s[0] - s[1]) for d, s in scores.items()}
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(RESAMPLES):
        picked = {
            d: each[rng.integers(0, len(each), len(each))].sum(axis=0)
            for d, each in chunks.items()
        }
        drawn.append(_difference(picked, study.info.excluded))
    finite = [v for v in drawn if math.isfinite(v)]
    low, high = np.percentile(finite, (2.5, 97.5)) if finite else (math.nan, math.nan)
    return Gain(
        strategy=strategy,
        reference=reference,
        points=_difference(whole, study.info.excluded),
        low=float(low),
        high=float(high),
        better=tuple(d for d, v in change.items() if v > MARGIN),
        worse=tuple(d for d, v in change.items() if v < -MARGIN),
    )


def _difference(counts: dict[str, Int64Array], excluded: tuple[str, ...]) -> float:
    scores = {d: 100 * mean_iou(each) for d, each in counts.items()}
    pair = [means_over({d: float(s[i]) for d, s in scores.items()}, excluded) for i in (0, 1)]
    return pair[0]["h_mean"] - pair[1]["h_mean"]


def _chunks(study: Study, strategy: str, reference: str) -> dict[str, Int64Array]:
    """Return domain -> (C, 2, 3, T) counts of chunks of both strategies."""
    found: dict[str, list[Int64Array]] = {}
    for recording in study.recordings:
        if strategy not in recording.results or reference not in recording.results:
            continue
        pair = np.stack(
            [recording.results[s].counts for s in (strategy, reference)], axis=1
        )  # (F, 2, 3, T)
        domains = recording.places
        for domain in map(str, np.unique(domains)):
            places = np.flatnonzero((domains == domain) & recording.scored)
            found.setdefault(domain, []).extend(
                pair[places[i : i + CHUNK]].sum(axis=0) for i in range(0, len(places), CHUNK)
            )
    return {d: np.stack(each) for d, each in sorted(found.items()) if each}
