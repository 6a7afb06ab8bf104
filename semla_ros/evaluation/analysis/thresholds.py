"""Where OUT_OF_LIBRARY and LOW should begin, from recordings whose domains are known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from semla_ros.core.errors import EvaluationError
from semla_ros.core.types import Float64Array, Int64Array
from semla_ros.evaluation.analysis.rerun import rerun
from semla_ros.evaluation.extra import evaluate_extra
from semla_ros.evaluation.study.strategies import named_like
from semla_ros.evaluation.study.study import BoolArray, Study
from semla_ros.library.library import AdapterLibrary
from semla_ros.navigator.distance import CentroidBank
from semla_ros.pipeline.settings import LiveSettings

RATES = (0.15, 0.1, 0.05, 0.02, 0.01)
STRETCHES = 3
"""Fewer recordings are held out in so many parts each, else whole."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """One choice of both thresholds.

    Attributes:
        false_alarms: Share of frames of known domains that pass each of them.
        out_of_library: Novelty.
        support_low: Smoothed support.
        found: Share of frames without an adapter above `out_of_library`; NaN without any.
        found_low: Share of them below `support_low`.
        held_out: Share of frames of known domains above the threshold that the other blocks give;
            of the threshold in force, which knows none of them, that is `false_alarms`.
        upper: 95 % confidence bound of it, for as many frames as are independent.
    """

    false_alarms: float
    out_of_library: float
    support_low: float
    found: float
    found_low: float
    held_out: float
    upper: float


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The thresholds in force and the ones that recordings suggest.

    Attributes:
        now: In force, with the false alarms of novelty that they give.
        choices: One for each rate.
        known: Frames of domains with an adapter.
        unknown: Frames of other domains.
        independent: How many independent frames the known ones are worth.
    """

    now: Threshold
    choices: tuple[Threshold, ...]
    known: int
    unknown: int
    independent: float


@dataclass(frozen=True, slots=True, eq=False)
class _Readings:
    """Filtered readings of all frames: novelty, support, has an adapter, block; (F,) each."""

    novelty: Float64Array
    support: Float64Array
    known: BoolArray
    block: Int64Array


def thresholds(
    studies: Sequence[Study],
    library: AdapterLibrary,
    bank: CentroidBank,
    *,
    settings: LiveSettings,
    rates: Sequence[float] = RATES,
) -> Thresholds | None:
    """Return what thresholds give on filtered readings, as the node judges them.

    None where no frame is of a domain with an adapter, or the library knows no spread.

    Args:
        studies: With embeddings and named domains.
        library: Of the bundle.
        bank: Its centroids.
        settings: Everything that decides.
        rates: Shares of false alarms to look at, in (0, 1).

    Raises:
        EvaluationError: An impossible rate, or embeddings of another bundle.
        MissingExtraError: SciPy is missing.
    """
    if any(not 0 < r < 1 for r in rates):
        raise EvaluationError(f"expected rates of false alarms in (0, 1), got {list(rates)!r}")
    readings = _readings(studies, library, bank, settings)
    known = readings.known
    if not known.any():
        return None
    novelty, block = readings.novelty[known], readings.block[known]
    worth = independent_frames(novelty, block)
    choices = tuple(
        _threshold(
            float(np.quantile(novelty, 1 - rate)),
            float(np.quantile(readings.support[known], rate)),
            readings,
            held_out=held_out_rate(novelty, block, rate=rate),
            worth=worth,
        )
        for rate in rates
    )
    force = settings.threshold(bank.alarm)
    passed = float((novelty > force).mean()) if force > 0 else 0.0
    now = _threshold(
        force or math.inf, settings.support_low, readings, held_out=passed, worth=worth
    )
    now = replace(now, out_of_library=force)
    return Thresholds(now, choices, int(known.sum()), int((~known).sum()), worth)


def held_out_rate(novelty: Float64Array, block: Int64Array, *, rate: float) -> float:
    """Return the share of frames above the threshold that the other blocks give; NaN for one.

    Args:
        novelty: (F,) of frames of known domains.
        block: (F,) recording or stretch of it.
        rate: Share of the other blocks' frames above that threshold.
    """
    blocks = np.unique(block)
    if len(blocks) < 2:
        return math.nan
    passed = sum(
        int((novelty[block == b] > np.quantile(novelty[block != b], 1 - rate)).sum())
        for b in blocks
    )
    return passed / len(novelty)


def independent_frames(novelty: Float64Array, block: Int64Array) -> float:
    """Return how many independent frames these are worth, 1 at least.

    With r the correlation of the novelties of a frame and the next in a block, n frames tell as
    much as n (1 - r) / (1 + r).

    Source: effective sample size of a first-order autoregression (Bayley and Hammersley, 1946).
    """
    away = novelty - novelty.mean()
    neighbours = block[1:] == block[:-1]
    spread = float(np.square(away).mean())
    if spread == 0 or not neighbours.any():
        return float(len(novelty))
    r = float(np.clip((away[1:] * away[:-1])[neighbours].mean() / spread, 0.0, 1.0))
    return max(len(novelty) * (1 - r) / (1 + r), 1.0)


def upper_bound(rate: float, count: float, *, confidence: float = 0.95) -> float:
    """Return the share that is not exceeded, this sure, after seeing `rate` of `count`.

    Source: Clopper and Pearson, 1934, one-sided.

    Raises:
        MissingExtraError: SciPy is missing.
    """
    if math.isnan(rate) or rate >= 1:
        return rate
    seen = rate * count
    beta = evaluate_extra("scipy.stats").beta
    return float(beta.ppf(confidence, seen + 1, max(count - seen, 1e-9)))


def _readings(
    studies: Sequence[Study], library: AdapterLibrary, bank: CentroidBank, settings: LiveSettings
) -> _Readings:
    """Return the readings; a block is a recording where there are several, else a third of it."""
    recordings = [r for s in studies for r in s.recordings]
    parts = 1 if len(recordings) >= STRETCHES else STRETCHES
    novelty, support, known, block = [], [], [], []
    for number, recording in enumerate(recordings):
        run = rerun(recording, library, bank, settings=settings)
        novelty.append(run.novelty)
        support.append(run.smoothed)
        known += [named_like(d, bank.names) is not None for d in recording.domains]
        frames = np.arange(recording.frames)
        block.append(number * parts + frames * parts // recording.frames)
    values, scores = np.concatenate(novelty), np.concatenate(support)
    there = np.isfinite(values) & np.isfinite(scores)
    return _Readings(
        values[there],
        scores[there],
        np.array(known, np.bool_)[there],
        np.concatenate(block).astype(np.int64)[there],
    )


def _threshold(
    out: float, low: float, readings: _Readings, *, held_out: float, worth: float
) -> Threshold:
    novelty, support, known = readings.novelty, readings.support, readings.known
    away = ~known
    return Threshold(
        false_alarms=float((novelty[known] > out).mean()),
        out_of_library=out,
        support_low=low,
        found=float((novelty[away] > out).mean()) if away.any() else math.nan,
        found_low=float((support[away] < low).mean()) if away.any() else math.nan,
        held_out=held_out,
        upper=upper_bound(held_out, worth),
    )
