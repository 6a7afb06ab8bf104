"""Filter and debounce over stored embeddings: swaps against how far the mix is from the wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from semla_ros.bundle import AdaptationDefaults
from semla_ros.config import Config, updated
from semla_ros.evaluation.analysis.rerun import rerun
from semla_ros.evaluation.study.gate import with_trigger
from semla_ros.evaluation.study.study import SequenceResult
from semla_ros.library.library import AdapterLibrary
from semla_ros.navigator.distance import CentroidBank
from semla_ros.pipeline.settings import LiveSettings


@dataclass(frozen=True, slots=True)
class GateScore:
    """What one setting of the gate does.

    Attributes:
        ema_time_s: Time constant of the filter.
        swap_trigger: Total variation that asks for a swap.
        swaps_per_1000: Frames.
        mismatch: Mean total variation between the serving mix and the one that retrieval picks
            for the frame alone, 0..1: what is lost by not following, before any mask is made.
    """

    ema_time_s: float
    swap_trigger: float
    swaps_per_1000: float
    mismatch: float


def gate_sweep(
    recordings: Sequence[SequenceResult],
    library: AdapterLibrary,
    bank: CentroidBank,
    *,
    config: Config,
    defaults: AdaptationDefaults,
    ema_times_s: Sequence[float],
    triggers: Sequence[float],
) -> tuple[GateScore, ...]:
    """Return every combination of filter and trigger.

    Raises:
        EvaluationError: A recording has no embeddings of this bundle.
    """
    quick = CentroidBank(
        bank.names, bank.centroids, bank.precisions
    )  # no novelty: it decides nothing
    found = []
    for ema_time_s in ema_times_s:
        for trigger in triggers:
            chosen = with_trigger(updated(config, {"ema_time_s": ema_time_s}), trigger)
            settings = LiveSettings.of(chosen, defaults)
            runs = [rerun(r, library, quick, settings=settings) for r in recordings]
            frames = sum(len(r.swapped) for r in runs)
            away = sum(0.5 * np.abs(r.weights - r.wanted).sum() for r in runs)
            swaps = sum(int(r.swapped.sum()) for r in runs)
            found.append(
                GateScore(ema_time_s, trigger, 1000 * swaps / frames, float(away / frames))
            )
    return tuple(found)


def chosen_gate(scores: Sequence[GateScore], *, slack: float = 0.02) -> GateScore:
    """Return the setting with the fewest swaps among those within `slack` of the best mismatch."""
    best = min(s.mismatch for s in scores)
    near = [s for s in scores if s.mismatch <= best + slack]
    return min(near, key=lambda s: (s.swaps_per_1000, s.mismatch))
