"""How a strategy behaves over a drive: does it notice, how fast, how often in vain.

Pure functions of one `RecordingTrack`. A *stage* is a run of frames of one domain. A mix *belongs*
to a stage when its heaviest member is the adapter expected there: the one named like the domain,
or, where there is none or it is left out, the one that per-frame SemLA leans on over the second
half of the stage. Delays are in frames and in seconds of sensor time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from semla_ros.errors import EvaluationError
from semla_ros.evaluation.study.record import SEMLA, RecordingTrack, StrategyTrack
from semla_ros.evaluation.study.scores import miou_of
from semla_ros.evaluation.study.strategies import left_out, named_like
from semla_ros.types import BASE

STEADY_SHARE = 0.95
WINDOW = 10
"""Frames over which mIoU is pooled to tell when it is steady: one frame shows too few classes."""
_NS = 1e-9


@dataclass(frozen=True, slots=True)
class Stage:
    """One run of frames of one domain.

    Attributes:
        domain: Its domain.
        start, stop: Its frames: start <= i < stop.
        visit: How often the domain was there before, from 0.
        expected: The adapter (or the base) whose mixes belong here; "" if unknown.
    """

    domain: str
    start: int
    stop: int
    visit: int
    expected: str

    @property
    def frames(self) -> int:
        """Number of frames."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class StageOutcome:
    """How a strategy did in one stage.

    Attributes:
        stage: Which.
        delay_frames: Frames before the first mix that belongs here; None if none came.
        delay_s: The same in sensor time; NaN if none came.
        missed: The stage expects another adapter than the one before, and none came.
        false_swaps: Swaps to a mix that does not belong here.
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


def stages_of(
    recording: RecordingTrack, adapters: Sequence[str], *, leave_out: str = ""
) -> tuple[Stage, ...]:
    """Return the stages of a recording; frames of unknown domain belong to none.

    Args:
        recording: The drive.
        adapters: `StudyInfo.adapters`.
        leave_out: `StudyInfo.leave_out`: what cannot be expected.
    """
    stages: list[Stage] = []
    seen: dict[str, int] = {}
    start = 0
    for i in range(1, recording.frames + 1):
        if i < recording.frames and recording.domains[i] == recording.domains[start]:
            continue
        domain = recording.domains[start]
        if domain:
            expected = _expected(recording, adapters, (start, i), leave_out=leave_out)
            stages.append(Stage(domain, start, i, seen.get(domain, 0), expected))
            seen[domain] = seen.get(domain, 0) + 1
        start = i
    return tuple(stages)


def sequence_metrics(
    recording: RecordingTrack,
    strategy: str,
    adapters: Sequence[str],
    *,
    leave_out: str = "",
) -> SequenceMetrics:
    """Return how `strategy` did over `recording`.

    Raises:
        EvaluationError: The recording has no such strategy.
    """
    track = recording.tracks.get(strategy)
    if track is None:
        raise EvaluationError(
            f"recording {recording.name!r} has the strategies {tuple(recording.tracks)!r}, "
            f"not {strategy!r}"
        )
    stages = stages_of(recording, adapters, leave_out=leave_out)
    outcomes = _outcomes(recording, track, stages, (*adapters, BASE))
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
        fused_share=float(track.swapped.mean()) if recording.frames else math.nan,
        dwell_s=_dwell(recording, track),
        forward={domain: values[0] for domain, values in visits.items()},
        backward={d: values[-1] for d, values in visits.items() if len(values) > 1},
        base_restored=_restored(recording),
    )


def _expected(
    recording: RecordingTrack,
    adapters: Sequence[str],
    frames: tuple[int, int],
    *,
    leave_out: str,
) -> str:
    start, stop = frames
    domain = recording.domains[start]
    own = named_like(domain, adapters)
    if own is not None and own not in left_out(leave_out, adapters, domain):
        return own
    semla = recording.tracks.get(SEMLA)
    if semla is None:
        return ""
    settled = semla.weights[start + (stop - start) // 2 : stop]
    return (*adapters, BASE)[int(settled.mean(axis=0).argmax())]


def _outcomes(
    recording: RecordingTrack,
    track: StrategyTrack,
    stages: Sequence[Stage],
    members: Sequence[str],
) -> tuple[StageOutcome, ...]:
    heaviest = [members[i] for i in track.weights.argmax(axis=1)]
    outcomes: list[StageOutcome] = []
    for number, stage in enumerate(stages):
        frames = range(stage.start, stage.stop)
        delay = next((i - stage.start for i in frames if heaviest[i] == stage.expected), None)
        known = bool(stage.expected)
        changed = number > 0 and stages[number - 1].expected != stage.expected
        steady = _pooled(track, stage.start + stage.frames // 2, stage.stop)
        outcomes.append(
            StageOutcome(
                stage=stage,
                delay_frames=delay,
                delay_s=math.nan if delay is None else _seconds(recording, stage.start, delay),
                missed=known and changed and delay is None,
                false_swaps=sum(
                    known and bool(track.swapped[i]) and heaviest[i] != stage.expected
                    for i in frames
                ),
                swaps=int(track.swapped[stage.start : stage.stop].sum()),
                miou=_pooled(track, stage.start, stage.stop),
                steady_miou=steady,
                settle_frames=_settle(recording, track, stage, steady),
            )
        )
    return tuple(outcomes)


def _shift(one: StageOutcome, later: StageOutcome) -> bool:
    expected = one.stage.expected, later.stage.expected
    return all(expected) and expected[0] != expected[1]


def _seconds(recording: RecordingTrack, start: int, frames: int) -> float:
    stamps = recording.stamps_ns
    return float(stamps[start + frames] - stamps[start]) * _NS


def _pooled(track: StrategyTrack, start: int, stop: int) -> float:
    return float(miou_of(track.counts[start:stop].sum(axis=0)))


def _settle(
    recording: RecordingTrack, track: StrategyTrack, stage: Stage, steady: float
) -> int | None:
    if math.isnan(steady) or not recording.scored[stage.start : stage.stop].all():
        return None
    for i in range(stage.start, max(stage.stop - WINDOW, stage.start) + 1):
        if _pooled(track, i, min(i + WINDOW, stage.stop)) >= STEADY_SHARE * steady:
            return i - stage.start
    return None


def _dwell(recording: RecordingTrack, track: StrategyTrack) -> float:
    stamps = recording.stamps_ns[track.swapped]
    return float(np.median(np.diff(stamps))) * _NS if len(stamps) > 1 else math.nan


def _restored(recording: RecordingTrack) -> bool | None:
    probe = recording.probe_crc32
    return probe[0] == probe[1] if len(probe) == 2 else None


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan
