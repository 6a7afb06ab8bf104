"""Strategies on their way through a recording: one state each, block by block."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from semla_ros.core.answers import known
from semla_ros.core.config import updated
from semla_ros.core.mask_signals import SIGNALS
from semla_ros.core.timing import StageTimer
from semla_ros.core.types import AdapterMix, LabelArray, UInt8Array
from semla_ros.evaluation.study.observation import Answer, FrameScore, Observation, score_frame
from semla_ros.evaluation.study.session import Session
from semla_ros.evaluation.study.strategies import mix_row
from semla_ros.evaluation.study.study import GATED, LATE_FUSION, StrategyResult


class StrategyRun(ABC):
    """A strategy that answers block after block.

    Attributes:
        masks: How many it made.
    """

    def __init__(self, session: Session, timer: StageTimer) -> None:
        """Begin with nothing done."""
        self.masks = 0
        self._session = session
        self._timer = timer

    @abstractmethod
    def answers(self, block: Sequence[Observation]) -> list[Answer]:
        """Return what the strategy does on each frame of the next block."""

    def _score(self, seen: Observation, labels: LabelArray, confidence: UInt8Array) -> FrameScore:
        self.masks += 1
        with self._timer.stage("score"):
            return score_frame(
                labels,
                confidence,
                size=seen.frame.rgb.shape[:2],
                truth=seen.truth,
                classes=len(self._session.classes),
            )


class MixRun(StrategyRun):
    """A strategy that says which mix is to serve."""

    def __init__(self, session: Session, strategy: str, timer: StageTimer) -> None:
        """Begin with nothing swapped: the first mix counts as there from the start."""
        super().__init__(session, timer)
        self._choose = session.strategy(strategy)
        self._last: AdapterMix | None = None

    def answers(self, block: Sequence[Observation]) -> list[Answer]:
        """Return the answers, each mask from the mix that the strategy chooses."""
        return [self._answer(seen) for seen in block]

    def _answer(self, seen: Observation) -> Answer:
        mix = self._choose(seen)
        if mix is None:
            return Answer(None, swapped=False)
        swapped = self._last is not None and mix != self._last
        self._last = mix
        return Answer(mix, swapped, score=self._scored(seen, mix))

    def _scored(self, seen: Observation, mix: AdapterMix) -> FrameScore:
        if mix not in seen.scores:
            with self._timer.stage("fuse"):
                self._session.serve(mix, seen.stamp_ns)
            with self._timer.stage("infer"):
                made = self._session.segment(seen.frame.rgb)
            seen.scores[mix] = self._score(seen, made.labels, made.confidence)
        return seen.scores[mix]


class LateFusionRun(MixRun):
    """A strategy whose mix weighs the members' predictions, not their weights."""

    def _scored(self, seen: Observation, mix: AdapterMix) -> FrameScore:
        with self._timer.stage("infer"):
            made = self._session.fused_late(seen, mix)
        return self._score(seen, made.labels, made.confidence)


class LiveRun(StrategyRun):
    """What the robot runs: the pipeline's own `step` on every frame."""

    def __init__(self, session: Session, timer: StageTimer) -> None:
        """Start a pipeline that has seen nothing."""
        super().__init__(session, timer)
        self._pipeline = session.pipeline()
        self._serving = session.parts.swapper.active
        self._excluded: frozenset[str] = frozenset()

    def answers(self, block: Sequence[Observation]) -> list[Answer]:
        """Return the answers, going on from the weights that served at the end of the last block.

        Merging starts from W0, so the weights are the same to the bit.
        """
        if block:
            with self._timer.stage("fuse"):
                self._session.serve(self._serving, block[0].stamp_ns)
        found = [self._step(seen) for seen in block]
        self._serving = self._session.parts.swapper.active
        return found

    def _step(self, seen: Observation) -> Answer:
        self._exclude(seen.excluded)
        result = self._pipeline.step(seen.frame)
        durations = self._timer.durations_ms
        for stage, ms in result.timings_ms.items():
            kind = "infer" if stage == "infer" else "fuse"
            durations[kind] = durations.get(kind, 0.0) + ms
        score = self._score(seen, result.labels, result.confidence)
        seen.scores.setdefault(result.mix, score)
        swapped = any(event.committed for event in result.swaps)
        return Answer(result.mix, swapped, known(result.support), score)

    def _exclude(self, excluded: frozenset[str]) -> None:
        """Leave other adapters out from this frame on, as a parameter set on the robot would."""
        if excluded != self._excluded:
            self._excluded = excluded
            names = ",".join(sorted(self._session.config.excluded | excluded))
            self._pipeline.configure(updated(self._session.config, {"exclude": names}))


def open_run(session: Session, strategy: str, timer: StageTimer) -> StrategyRun:
    """Return the run of a strategy that has seen nothing; `timer` gets where the time goes."""
    if strategy == GATED:
        return LiveRun(session, timer)
    if strategy == LATE_FUSION:
        return LateFusionRun(session, strategy, timer)
    return MixRun(session, strategy, timer)


def strategy_result(
    strategy: str, answers: Sequence[Answer], names: Sequence[str], *, classes: int
) -> StrategyResult:
    """Return what a strategy did as arrays.

    Args:
        strategy: Its name.
        answers: Frame by frame.
        names: N adapters, see `StudyInfo.adapters`.
        classes: T.
    """
    none = FrameScore(np.zeros((3, classes), np.int64), (math.nan,) * len(SIGNALS), 0)
    scores = [a.score or none for a in answers]
    rows = [mix_row(a.mix, names) for a in answers]
    return StrategyResult(
        strategy=strategy,
        counts=np.array([s.counts for s in scores], np.int64).reshape(-1, 3, classes),
        weights=np.array(rows, np.float32).reshape(-1, len(names) + 1),
        signals=np.array([s.signals for s in scores], np.float64).reshape(-1, len(SIGNALS)),
        mask_crc32=np.array([s.mask_crc32 for s in scores], np.uint32),
        swapped=np.array([a.swapped for a in answers], dtype=np.bool_),
    )
