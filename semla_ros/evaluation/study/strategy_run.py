"""One strategy's way through a recording, block by block."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from semla_ros.core.answers import SupportReading, known
from semla_ros.core.config import updated
from semla_ros.core.mask_signals import SIGNALS
from semla_ros.core.timing import StageTimer
from semla_ros.core.types import AdapterMix, LabelArray, UInt8Array
from semla_ros.evaluation.study.observation import Observation
from semla_ros.evaluation.study.scoring import FrameScore, score_frame
from semla_ros.evaluation.study.session import Session
from semla_ros.evaluation.study.strategies import mix_row
from semla_ros.evaluation.study.study import GATED, StrategyResult


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """One frame of one strategy.

    Attributes:
        mix: What made the mask, None where the strategy has no meaning.
        score: Of the mask.
        swapped: Another mix was committed just before.
        support: Of the live stream; None for other strategies.
    """

    mix: AdapterMix | None
    score: FrameScore | None
    swapped: bool
    support: SupportReading | None = None


class StrategyRun:
    """A strategy that takes block after block.

    Attributes:
        strategy: Its name.
        inferred: How many masks it made.
        done: The frames of whole blocks.
    """

    def __init__(self, session: Session, strategy: str, timer: StageTimer) -> None:
        """Begin with nothing done."""
        self.strategy = strategy
        self.inferred = 0
        self.done: list[Answered] = []
        self._session = session
        self._timer = timer
        self._block: list[Answered] = []

    def take(self, observations: Sequence[Observation]) -> None:
        """Go through one block."""
        self._block += self._answers(observations)

    def keep(self) -> None:
        """Count the block as done."""
        self.done += self._block
        self._block = []

    def result(self) -> StrategyResult:
        """Return what was done on the whole blocks."""
        names, classes = self._session.names, len(self._session.classes)
        no_counts = np.zeros((3, classes), dtype=np.int64)
        no_score = FrameScore(no_counts, (math.nan,) * len(SIGNALS), 0)
        scores = [no_score if d.score is None else d.score for d in self.done]
        rows = [mix_row(d.mix, names) for d in self.done]
        return StrategyResult(
            strategy=self.strategy,
            counts=np.array([s.counts for s in scores], np.int64).reshape(-1, 3, classes),
            weights=np.array(rows, np.float32).reshape(-1, len(names) + 1),
            signals=np.array([s.signals for s in scores], np.float64).reshape(-1, len(SIGNALS)),
            mask_crc32=np.array([s.mask_crc32 for s in scores], np.uint32),
            swapped=np.array([d.swapped for d in self.done], dtype=np.bool_),
        )

    def _answers(self, observations: Sequence[Observation]) -> Iterator[Answered]:
        """Yield what the strategy does on each frame of a block."""
        raise NotImplementedError

    def _score(self, seen: Observation, labels: LabelArray, confidence: UInt8Array) -> FrameScore:
        self.inferred += 1
        with self._timer.stage("score"):
            return score_frame(
                labels,
                confidence,
                size=seen.image.rgb.shape[:2],
                truth=seen.truth,
                classes=len(self._session.classes),
            )


class MixRun(StrategyRun):
    """A strategy that says which mix is to serve."""

    def __init__(self, session: Session, strategy: str, timer: StageTimer) -> None:
        """Begin with nothing swapped: the first mix counts as there from the start."""
        super().__init__(session, strategy, timer)
        self._choose = session.strategy(strategy)
        self._last: AdapterMix | None = None

    def _answers(self, observations: Sequence[Observation]) -> Iterator[Answered]:
        for seen in observations:
            mix = self._choose(seen)
            swapped = mix is not None and self._last is not None and mix != self._last
            self._last = mix or self._last
            if mix is not None and mix not in seen.scores:
                with self._timer.stage("fuse"):
                    self._session.serve(mix, seen.stamp_ns)
                with self._timer.stage("infer"):
                    made = self._session.segment(seen.image.rgb)
                seen.scores[mix] = self._score(seen, made.labels, made.confidence)
            yield Answered(mix, None if mix is None else seen.scores[mix], swapped)


class LiveRun(StrategyRun):
    """What the robot runs: the pipeline's own `step` on every frame."""

    def __init__(self, session: Session, timer: StageTimer) -> None:
        """Start a pipeline that has seen nothing."""
        super().__init__(session, GATED, timer)
        self._pipeline = session.pipeline()
        self._serving = session.parts.swapper.active
        self._excluded: frozenset[str] = frozenset()

    def _answers(self, observations: Sequence[Observation]) -> Iterator[Answered]:
        """Go on from the weights that served at the end of the last block."""
        if observations:
            with self._timer.stage("fuse"):
                self._session.serve(self._serving, observations[0].stamp_ns)
        yield from map(self._step, observations)
        self._serving = self._session.parts.swapper.active

    def _step(self, seen: Observation) -> Answered:
        self._exclude(seen.excluded)
        result = self._pipeline.step(seen.image)
        durations = self._timer.durations_ms
        for stage, ms in result.timings_ms.items():
            kind = "infer" if stage == "infer" else "fuse"
            durations[kind] = durations.get(kind, 0.0) + ms
        score = self._score(seen, result.labels, result.confidence)
        seen.scores.setdefault(result.mix, score)
        swapped = any(event.committed for event in result.swaps)
        return Answered(result.mix, score, swapped, known(result.support))

    def _exclude(self, excluded: frozenset[str]) -> None:
        """Leave other adapters out from this frame on, as a parameter set on the robot would."""
        if excluded == self._excluded:
            return
        self._excluded = excluded
        names = sorted(self._session.config.excluded | excluded)
        self._pipeline.configure(updated(self._session.config, {"exclude": ",".join(names)}))
