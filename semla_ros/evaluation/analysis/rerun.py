"""Recordings once more with other settings, from stored embeddings: no image, no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from semla_ros.bundle import AdaptationDefaults
from semla_ros.core.config import Config, updated
from semla_ros.core.errors import EvaluationError
from semla_ros.core.types import Float32Array, Float64Array
from semla_ros.evaluation.study.gate import GateReplay, with_trigger
from semla_ros.evaluation.study.strategies import mix_row
from semla_ros.evaluation.study.study import BoolArray, SequenceResult
from semla_ros.library.library import AdapterLibrary
from semla_ros.library.retrieval import retrieve
from semla_ros.navigator.distance import DISTANCES, CentroidBank
from semla_ros.pipeline.settings import LiveSettings


@dataclass(frozen=True, slots=True, eq=False)
class Rerun:
    """What the gated stream would have done.

    Attributes:
        weights: (F, N + 1) float32 share of each adapter in the mask, the base last.
        wanted: (F, N + 1) float32 the mix that retrieval picks for the frame alone.
        smoothed: (F,) smoothed support; NaN before the first observation.
        novelty: (F,) of the smoothed embedding; NaN where unknown.
        levels: Support level of each frame, `""` before the first observation.
        swapped: (F,) another mix was committed just before the frame.
    """

    weights: Float32Array
    wanted: Float32Array
    smoothed: Float64Array
    novelty: Float64Array
    levels: tuple[str, ...]
    swapped: BoolArray


def rerun(
    recording: SequenceResult,
    library: AdapterLibrary,
    bank: CentroidBank,
    *,
    settings: LiveSettings,
) -> Rerun:
    """Return what `settings` would have decided on a recording.

    Args:
        recording: With embeddings.
        library: Of the bundle.
        bank: Its centroids, as `settings.distance` needs them.
        settings: Everything that decides.

    Raises:
        EvaluationError: The recording has no embeddings.
    """
    if not recording.frames or recording.embeddings.shape[1] != bank.centroids.shape[1]:
        raise EvaluationError(
            f"expected embeddings of width {bank.centroids.shape[1]} in {recording.name!r}, got "
            f"{recording.embeddings.shape}: evaluate it with this bundle"
        )
    gate = GateReplay(library, bank, settings)
    stamps = recording.stamps_ns.tolist()
    steps = [gate.step(s, e) for s, e in zip(stamps, recording.embeddings, strict=True)]
    supports = [s.support for s in steps]
    return Rerun(
        weights=np.stack([mix_row(s.mix, bank.names) for s in steps]),
        wanted=wanted_weights(recording.embeddings, bank, settings),
        smoothed=np.array([np.nan if s is None else s.smoothed for s in supports]),
        novelty=np.array([np.nan if s is None else s.novelty for s in supports]),
        levels=tuple("" if s is None else s.level for s in supports),
        swapped=np.array([s.swapped for s in steps], np.bool_),
    )


def wanted_weights(
    embeddings: Float32Array, bank: CentroidBank, settings: LiveSettings
) -> Float32Array:
    """Return the mix that retrieval picks for each frame alone, (F, N + 1) float32."""
    measure = DISTANCES[settings.distance]
    rows = [
        mix_row(retrieve(bank.names, measure(e, bank), settings=settings.retrieval), bank.names)
        for e in embeddings
    ]
    return np.stack(rows)


def without(bank: CentroidBank, names: Sequence[str]) -> CentroidBank:
    """Return the bank without some adapters; spread and alarm stay as they were."""
    kept = [i for i, name in enumerate(bank.names) if name not in names]
    alarm = bank.alarm
    if alarm is not None and alarm.widths:
        alarm = replace(alarm, widths=tuple(alarm.widths[i] for i in kept))
    return CentroidBank(
        tuple(bank.names[i] for i in kept),
        bank.centroids[kept],
        None if bank.precisions is None else bank.precisions[kept],
        bank.whitening,
        alarm,
    )


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
