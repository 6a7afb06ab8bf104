"""One strategy's way through a recording, block by block."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from semla_ros.answers import SupportReading, known
from semla_ros.config import updated
from semla_ros.evaluation.study.observe import Sight
from semla_ros.evaluation.study.record import GATED, StrategyTrack
from semla_ros.evaluation.study.scoring import FrameScore, score_frame
from semla_ros.evaluation.study.session import Session
from semla_ros.evaluation.study.strategies import Chooser, mix_row
from semla_ros.mask_signals import SIGNALS
from semla_ros.timing import StageTimer
from semla_ros.types import AdapterMix, Float64Array


@dataclass(frozen=True, slots=True, eq=False)
class Done:
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


class Pass(Protocol):
    """A strategy that takes block after block."""

    strategy: str
    inferred: int

    def take(self, sights: Sequence[Sight]) -> None:
        """Go through one block."""
        ...

    def keep(self) -> None:
        """Count the block as done."""
        ...

    def track(self, classes: int) -> StrategyTrack:
        """Return what was done on the whole blocks."""
        ...


class _Passed:
    """The frames that a pass has done, and those of the block at hand."""

    def __init__(self, session: Session, strategy: str, timer: StageTimer) -> None:
        self.strategy = strategy
        self.inferred = 0
        self._session = session
        self._timer = timer
        self._block: list[Done] = []
        self._done: list[Done] = []

    def keep(self) -> None:
        """Count the block as done."""
        self._done += self._block
        self._block = []

    def track(self, classes: int) -> StrategyTrack:
        """Return what was done on the whole blocks."""
        done, names = self._done, self._session.names
        none = np.zeros((3, classes), dtype=np.int64)
        counts = [none if d.score is None else d.score.counts for d in done]
        rows = [mix_row(d.mix, names) for d in done]
        nothing = (math.nan,) * len(SIGNALS)
        return StrategyTrack(
            strategy=self.strategy,
            counts=np.stack(counts) if counts else np.zeros((0, 3, classes), np.int64),
            weights=np.stack(rows) if rows else np.zeros((0, len(names) + 1), np.float32),
            signals=np.array(
                [nothing if d.score is None else d.score.signals for d in done], np.float64
            ).reshape(-1, len(SIGNALS)),
            mask_crc32=np.array(
                [0 if d.score is None else d.score.mask_crc32 for d in done], np.uint32
            ),
            swapped=np.array([d.swapped for d in done], dtype=np.bool_),
        )


class MixPass(_Passed):
    """A strategy that says which mix is to serve."""

    def __init__(
        self, session: Session, strategy: str, chooser: Chooser, *, timer: StageTimer
    ) -> None:
        """Begin with nothing swapped: the first mix counts as there from the start."""
        super().__init__(session, strategy, timer)
        self._chooser = chooser
        self._last: AdapterMix | None = None

    def take(self, sights: Sequence[Sight]) -> None:
        """Go through one block."""
        for sight in sights:
            mix = self._chooser.choose(sight.look)
            swapped = mix is not None and self._last is not None and mix != self._last
            self._last = mix or self._last
            score = None if mix is None else self._score(sight, mix)
            self._block.append(Done(mix, score, swapped))

    def _score(self, sight: Sight, mix: AdapterMix) -> FrameScore:
        known = sight.scores.get(mix)
        if known is not None:
            return known
        rgb = sight.frame.rgb
        with self._timer.stage("fuse"):
            self._session.serve(mix, sight.look.stamp_ns)
        with self._timer.stage("infer"):
            prediction = self._session.segment(rgb)
        self.inferred += 1
        with self._timer.stage("score"):
            score = score_frame(
                prediction.labels,
                prediction.confidence,
                size=rgb.shape[:2],
                truth=sight.truth,
                classes=len(self._session.classes),
            )
        sight.scores[mix] = score
        return score


class LivePass(_Passed):
    """What the robot runs: the pipeline's own `step` on every frame."""

    def __init__(self, session: Session, timer: StageTimer) -> None:
        """Start a pipeline that has seen nothing."""
        super().__init__(session, GATED, timer)
        self._pipeline = session.pipeline()
        self._serving = session.parts.swapper.active
        self._excluded: frozenset[str] = frozenset()

    def take(self, sights: Sequence[Sight]) -> None:
        """Go through one block, from the weights that served at the end of the last one."""
        if sights:
            with self._timer.stage("fuse"):
                self._session.serve(self._serving, sights[0].look.stamp_ns)
        for sight in sights:
            self._block.append(self._step(sight))
        self._serving = self._session.parts.swapper.active

    def smoothed(self) -> Float64Array:
        """Return the smoothed support score of each frame, (F,); NaN before there is one."""
        readings = [d.support for d in self._done]
        return np.array([math.nan if r is None else r.smoothed for r in readings], np.float64)

    def levels(self) -> tuple[str, ...]:
        """Return the support level of each frame, "" before there is one."""
        return tuple("" if d.support is None else d.support.level for d in self._done)

    def _step(self, sight: Sight) -> Done:
        self._exclude(sight.look.excluded)
        result = self._pipeline.step(sight.frame)
        self.inferred += 1
        durations = self._timer.durations_ms
        for stage, ms in result.timings_ms.items():
            kind = "infer" if stage == "infer" else "fuse"
            durations[kind] = durations.get(kind, 0.0) + ms
        with self._timer.stage("score"):
            score = score_frame(
                result.labels,
                result.confidence,
                size=sight.frame.rgb.shape[:2],
                truth=sight.truth,
                classes=len(self._session.classes),
            )
        sight.scores.setdefault(result.mix, score)
        swapped = any(event.committed for event in result.swaps)
        return Done(result.mix, score, swapped, known(result.support))

    def _exclude(self, excluded: frozenset[str]) -> None:
        """Leave other adapters out from this frame on, as a parameter set on the robot would."""
        if excluded == self._excluded:
            return
        self._excluded = excluded
        names = sorted(self._session.config.excluded | excluded)
        self._pipeline.configure(updated(self._session.config, {"exclude": ",".join(names)}))
