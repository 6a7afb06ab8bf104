"""How a strategy behaves over a drive: does it notice, how fast, how often in vain.

Pure functions of one `SequenceResult`. A mix *belongs* to a stage when its heaviest member, if
there is a single one, is the adapter expected there. Delays are in frames and in seconds of sensor
time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from semla_ros.core.errors import EvaluationError
from semla_ros.core.types import BASE
from semla_ros.data.metrics import mean_iou
from semla_ros.evaluation.study.stages import Stage, stages_of
from semla_ros.evaluation.study.study import SequenceResult, StrategyResult

STEADY_SHARE = 0.95
WINDOW = 10
"""Frames over which mIoU is pooled to tell when it is steady: one frame shows too few classes."""
_NS = 1e-9


@dataclass(frozen=True, slots=True)
class StageOutcome:
    """How a strategy did in one stage.

    Attributes:
        stage: Which.
        delay_frames: Frames before the first mix that belongs here; None if none came.
        delay_s: The same in sensor time; NaN if none came.
        missed: The stage expects another adapter than the one before, and none came.
        false_swaps: Swaps to a mix that does not belong here; to that of the stage before, while
            the shift is not noticed yet, they are late, and to that of the next one, where it
            stays until then, early: neither is false.
        swaps: All swaps.
        miou: Pooled over the scored frames, in [0, 1]; NaN without any.
        steady_miou: The same over the second half.
        settle_frames: Frames until the mIoU of a window reaches 95 % of the steady one; None
            where it is unknown.
    """

    stage: Stage
    delay_frames: int | None
    delay_s: float
    missed: bool
    false_swaps: int
    swaps: int
    miou: float
    steady_miou: float
    settle_frames: int | None


@dataclass(frozen=True, slots=True)
class SequenceMetrics:
    """How a strategy did over a drive.

    Attributes:
        strategy: Which.
        stages: One by one.
        shifts: Stages that expect another adapter than the one before.
        missed_shifts: How many of them were missed.
        mean_delay_frames: Mean delay of those that were noticed; NaN without any.
        mean_delay_s: The same in seconds.
        false_swaps_per_1000: False swaps in a thousand frames.
        fused_share: Share of frames before which weights were fused.
        dwell_s: Median time between two swaps; NaN with fewer than two.
        forward, backward: Domain -> mIoU of its first visit, and of its last where there are
            several: the difference is what a drive in between has cost.
        base_restored: The base made the same mask after everything as before, bit for bit; None
            where that was not tried.
    """

    strategy: str
    stages: tuple[StageOutcome, ...]
    shifts: int
    missed_shifts: int
    mean_delay_frames: float
    mean_delay_s: float
    false_swaps_per_1000: float
    fused_share: float
    dwell_s: float
    forward: Mapping[str, float]
    backward: Mapping[str, float]
    base_restored: bool | None


def sequence_metrics(
    recording: SequenceResult,
    strategy: str,
    adapters: Sequence[str],
    *,
    leave_out: str = "",
) -> SequenceMetrics:
    """Return how `strategy` did over `recording`.

    Raises:
        EvaluationError: The recording has no such strategy.
    """
    result = recording.results.get(strategy)
    if result is None:
        raise EvaluationError(
            f"recording {recording.name!r} has the strategies {tuple(recording.results)!r}, "
            f"not {strategy!r}"
        )
    stages = stages_of(recording, adapters, leave_out=leave_out)
    outcomes = _outcomes(recording, result, stages, (*adapters, BASE))
    shifts = [later for one, later in pairwise(outcomes) if _shift(one, later)]
    noticed = [o for o in shifts if o.delay_frames is not None]
    frames = sum(o.stage.frames for o in outcomes)
    false = sum(o.false_swaps for o in outcomes)
    visits: dict[str, list[float]] = {}
    for outcome in outcomes:
        visits.setdefault(outcome.stage.domain, []).append(outcome.miou)
    return SequenceMetrics(
        strategy=strategy,
        stages=outcomes,
        shifts=len(shifts),
        missed_shifts=sum(o.missed for o in shifts),
        mean_delay_frames=_mean([float(o.delay_frames or 0) for o in noticed]),
        mean_delay_s=_mean([o.delay_s for o in noticed]),
        false_swaps_per_1000=1000.0 * false / frames if frames else math.nan,
        fused_share=float(result.swapped.mean()) if recording.frames else math.nan,
        dwell_s=_dwell(recording, result),
        forward={domain: values[0] for domain, values in visits.items()},
        backward={d: values[-1] for d, values in visits.items() if len(values) > 1},
        base_restored=_restored(recording),
    )


def _outcomes(
    recording: SequenceResult,
    result: StrategyResult,
    stages: Sequence[Stage],
    members: Sequence[str],
) -> tuple[StageOutcome, ...]:
    heaviest = _heaviest(result, members)
    outcomes: list[StageOutcome] = []
    for number, stage in enumerate(stages):
        frames = range(stage.start, stage.stop)
        delay = next((i - stage.start for i in frames if heaviest[i] == stage.expected), None)
        before = stages[number - 1].expected if number else stage.expected
        steady = _pooled(result, stage.start + stage.frames // 2, stage.stop)
        outcomes.append(
            StageOutcome(
                stage=stage,
                delay_frames=delay,
                delay_s=math.nan if delay is None else _seconds(recording, stage.start, delay),
                missed=bool(stage.expected) and before != stage.expected and delay is None,
                false_swaps=_false_swaps(
                    result, heaviest, stages=stages, number=number, delay=delay
                ),
                swaps=int(result.swapped[stage.start : stage.stop].sum()),
                miou=_pooled(result, stage.start, stage.stop),
                steady_miou=steady,
                settle_frames=_settle(recording, result, stage, steady),
            )
        )
    return tuple(outcomes)


def _heaviest(result: StrategyResult, members: Sequence[str]) -> list[str]:
    """Return the heaviest member of each frame's mix, "" where several are as heavy."""
    weights = result.weights
    most = weights.max(axis=1, initial=0.0)
    single = (weights == most[:, None]).sum(axis=1) == 1
    found = weights.argmax(axis=1)
    return [members[i] if one else "" for i, one in zip(found, single, strict=True)]


def _false_swaps(
    result: StrategyResult,
    heaviest: Sequence[str],
    *,
    stages: Sequence[Stage],
    number: int,
    delay: int | None,
) -> int:
    """Return the swaps of a stage that are neither right, nor late, nor early."""
    stage = stages[number]
    if not stage.expected:
        return 0
    before = stages[number - 1].expected if number else ""
    after = stages[number + 1].expected if number + 1 < len(stages) else ""
    noticed = stage.stop if delay is None else stage.start + delay
    early = stage.stop
    while early > noticed and after and heaviest[early - 1] == after:
        early -= 1
    false = 0
    for i in range(stage.start, early):
        late = i < noticed and heaviest[i] == before
        false += bool(result.swapped[i]) and heaviest[i] != stage.expected and not late
    return false


def _shift(one: StageOutcome, later: StageOutcome) -> bool:
    expected = one.stage.expected, later.stage.expected
    return all(expected) and expected[0] != expected[1]


def _seconds(recording: SequenceResult, start: int, frames: int) -> float:
    stamps = recording.stamps_ns
    return float(stamps[start + frames] - stamps[start]) * _NS


def _pooled(result: StrategyResult, start: int, stop: int) -> float:
    return float(mean_iou(result.counts[start:stop].sum(axis=0)))


def _settle(
    recording: SequenceResult, result: StrategyResult, stage: Stage, steady: float
) -> int | None:
    if math.isnan(steady) or not recording.scored[stage.start : stage.stop].all():
        return None
    for i in range(stage.start, max(stage.stop - WINDOW, stage.start) + 1):
        if _pooled(result, i, min(i + WINDOW, stage.stop)) >= STEADY_SHARE * steady:
            return i - stage.start
    return None


def _dwell(recording: SequenceResult, result: StrategyResult) -> float:
    stamps = recording.stamps_ns[result.swapped]
    return float(np.median(np.diff(stamps))) * _NS if len(stamps) > 1 else math.nan


def _restored(recording: SequenceResult) -> bool | None:
    probe = recording.probe_crc32
    return probe[0] == probe[1] if len(probe) == 2 else None


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan
