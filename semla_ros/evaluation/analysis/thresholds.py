"""Where OUT_OF_LIBRARY and LOW should begin, from recordings whose domains are known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from semla_ros.errors import EvaluationError
from semla_ros.evaluation.analysis.rerun import rerun
from semla_ros.evaluation.study.record import BoolArray, Study
from semla_ros.evaluation.study.strategies import named_like
from semla_ros.library.library import AdapterLibrary
from semla_ros.navigator.distance import CentroidBank
from semla_ros.pipeline.settings import LiveSettings
from semla_ros.types import Float64Array

RATES = (0.15, 0.1, 0.05, 0.02, 0.01)


@dataclass(frozen=True, slots=True)
class Threshold:
    """One choice of both thresholds.

    Attributes:
        false_alarms: Share of frames of known domains that pass each of them.
        out_of_library: Novelty.
        support_low: Smoothed support.
        found: Share of frames without an adapter above `out_of_library`; NaN without any.
        found_low: Share of them below `support_low`.
    """

    false_alarms: float
    out_of_library: float
    support_low: float
    found: float
    found_low: float


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The thresholds in force and the ones that recordings suggest.

    Attributes:
        now: In force, with the false alarms of novelty that they give.
        choices: One for each rate.
        known: Frames of domains with an adapter.
        unknown: Frames of other domains.
    """

    now: Threshold
    choices: tuple[Threshold, ...]
    known: int
    unknown: int


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
    """
    if any(not 0 < r < 1 for r in rates):
        raise EvaluationError(f"expected rates of false alarms in (0, 1), got {list(rates)!r}")
    novelty, support, known = _readings(studies, library, bank, settings)
    if not known.any():
        return None
    choices = tuple(
        _threshold(
            float(np.quantile(novelty[known], 1 - rate)),
            float(np.quantile(support[known], rate)),
            (novelty, support, known),
        )
        for rate in rates
    )
    now = _threshold(settings.out_of_library, settings.support_low, (novelty, support, known))
    return Thresholds(now, choices, int(known.sum()), int((~known).sum()))


def _readings(
    studies: Sequence[Study], library: AdapterLibrary, bank: CentroidBank, settings: LiveSettings
) -> tuple[Float64Array, Float64Array, BoolArray]:
    novelty, support, known = [], [], []
    for recording in (r for s in studies for r in s.recordings):
        run = rerun(recording, library, bank, settings=settings)
        novelty.append(run.novelty)
        support.append(run.smoothed)
        known += [named_like(d, bank.names) is not None for d in recording.domains]
    values, scores = np.concatenate(novelty), np.concatenate(support)
    there = np.isfinite(values) & np.isfinite(scores)
    return values[there], scores[there], np.array(known, np.bool_)[there]


def _threshold(
    out: float, low: float, readings: tuple[Float64Array, Float64Array, BoolArray]
) -> Threshold:
    novelty, support, known = readings
    away = ~known
    return Threshold(
        false_alarms=float((novelty[known] > out).mean()),
        out_of_library=out,
        support_low=low,
        found=float((novelty[away] > out).mean()) if away.any() else math.nan,
        found_low=float((support[away] < low).mean()) if away.any() else math.nan,
    )
