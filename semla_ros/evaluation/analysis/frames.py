"""One row a frame: the signals that might tell how good a mask is, and how good it was."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from semla_ros.core.errors import EvaluationError
from semla_ros.core.mask_signals import SIGNALS as MASK_SIGNALS
from semla_ros.core.types import Float64Array
from semla_ros.data.metrics import mean_iou
from semla_ros.evaluation.study.strategies import left_out
from semla_ros.evaluation.study.study import (
    GATED,
    SEMLA,
    BoolArray,
    SequenceResult,
    StrArray,
    Study,
    StudyInfo,
)
from semla_ros.navigator.support import support_level

OUT_OF_LIBRARY = "OUT_OF_LIBRARY"
SIGNALS = ("support", "confidence", "novelty", "nearest_distance")
"""Names of the signals of `FrameTable`; large means good for the first two, bad for the others."""
QUALITY = (*SIGNALS, "expected")
"""Signals of how good a mask is: those and the expected mIoU, NaN OUT_OF_LIBRARY."""
GOOD_WHEN_LARGE = {
    "support": True,
    "confidence": True,
    "novelty": False,
    "nearest_distance": False,
    "expected": True,
}


@dataclass(frozen=True, slots=True, eq=False)
class FrameTable:
    """F frames of one strategy, all recordings one after the other.

    Attributes:
        support: (F,) what the mask's mix is supported by: the smoothed score where the gated
            strategy is shown, else the frame's own; NaN where unknown.
        mask: (F, S) signals of the mask, see `mask_signals`.
        novelty: (F,) smallest novelty; NaN where unknown.
        nearest_distance: (F,) distance of the frame's own embedding to the nearest centroid.
        mix_entropy: (F,) of the shares of adapters and base in the mask, nats.
        miou: (F,) over the classes of the frame, in [0, 1]; NaN where not scored.
        domain: (F,) name; the recording's where the frame has none.
        block: (F,) which unbroken stretch of one domain in one recording: frames of a block
            resemble each other and count as one block, not as independent trials.
        level: (F,) support level: the gated stream's, else that of the frame alone; empty where
            unknown.
        expected: (F,) mIoU to expect of the mask, from other domains' frames; NaN where unknown.
    """

    support: Float64Array
    mask: Float64Array
    novelty: Float64Array
    nearest_distance: Float64Array
    mix_entropy: Float64Array
    miou: Float64Array
    domain: StrArray
    block: StrArray
    level: StrArray
    expected: Float64Array

    def __len__(self) -> int:
        return len(self.miou)

    def where(self, chosen: BoolArray) -> FrameTable:
        """Return the frames of a (F,) mask."""
        return FrameTable(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})

    def signal(self, name: str) -> Float64Array:
        """Return a signal turned so that large means good, (F,).

        Raises:
            EvaluationError: No signal of that name.
        """
        if name not in QUALITY:
            raise EvaluationError(f"expected a signal of {QUALITY!r}, got {name!r}")
        values: Float64Array = getattr(self, name)
        return values if GOOD_WHEN_LARGE[name] else -values

    def columns(self, names: Sequence[str]) -> Float64Array:
        """Return (F, len(names)) of signals of the mask or of any other column, by name."""
        found = [
            self.mask[:, MASK_SIGNALS.index(n)] if n in MASK_SIGNALS else getattr(self, n)
            for n in names
        ]
        return np.stack(found, axis=1) if found else np.zeros((len(self), 0))

    @property
    def confidence(self) -> Float64Array:
        """(F,) mean confidence of the mask, 0..1."""
        return self.mask[:, 0]

    @property
    def is_judged(self) -> BoolArray:
        """(F,) whether there is a truth, a support score and a mask."""
        judged: BoolArray = np.isfinite(self.miou + self.support + self.mask.sum(axis=1))
        return judged

    @property
    def is_promised(self) -> BoolArray:
        """(F,) whether judged and not OUT_OF_LIBRARY: there a bundle promises nothing."""
        promised: BoolArray = self.is_judged & (self.level != OUT_OF_LIBRARY)
        return promised

    @property
    def judged(self) -> FrameTable:
        """The frames with a truth and a support score."""
        return self.where(self.is_judged)

    @property
    def promised(self) -> FrameTable:
        """The judged frames that are not OUT_OF_LIBRARY."""
        return self.where(self.is_promised)


def main_strategy(study: Study) -> str:
    """Return the strategy the robot is judged by: gated, else SemLA per frame, else the first.

    Raises:
        EvaluationError: The study has none.
    """
    for name in (GATED, SEMLA, *study.info.strategies):
        if any(name in r.results for r in study.recordings):
            return name
    raise EvaluationError("expected a study with at least one strategy, got none: evaluate again")


def frame_table(studies: Sequence[Study], *, strategy: str | None = None) -> FrameTable:
    """Return the frames of all recordings that ran `strategy`.

    Args:
        studies: Recordings of one name in two studies are two blocks.
        strategy: None: `main_strategy` of each study.

    Raises:
        EvaluationError: No recording ran it.
    """
    parts = []
    for number, study in enumerate(studies):
        name = strategy or main_strategy(study)
        parts += [
            _rows(recording, name, f"{number}:{recording.name}", study.info)
            for recording in study.recordings
            if name in recording.results
        ]
    if not parts:
        raise EvaluationError(
            f"expected recordings with strategy {strategy!r}, got none: evaluate with it"
        )
    return FrameTable(
        **{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(FrameTable)}
    )


def _rows(recording: SequenceResult, strategy: str, block: str, info: StudyInfo) -> FrameTable:
    result = recording.results[strategy]
    nearest = _nearest(recording, info)
    return FrameTable(
        support=recording.smoothed if strategy == GATED else recording.support,
        mask=result.signals,
        novelty=recording.novelty,
        nearest_distance=nearest,
        mix_entropy=_entropy(result.weights.astype(np.float64)),
        miou=np.where(recording.scored, mean_iou(result.counts), np.nan),
        domain=recording.places,
        block=_blocks(block, recording.places),
        level=np.array(_levels(recording, strategy, nearest, info), dtype=np.str_),
        expected=np.full(recording.frames, np.nan),
    )


def _entropy(shares: Float64Array) -> Float64Array:
    """Return the entropy of each row of shares (F, N), nats; (F,)."""
    logs = np.log(np.where(shares > 0, shares, 1.0))
    found: Float64Array = np.abs((shares * logs).sum(axis=1))
    return found


def _nearest(recording: SequenceResult, info: StudyInfo) -> Float64Array:
    """Return the distance to the nearest adapter that might serve, (F,); NaN where unknown."""
    distances = recording.distances.copy()
    if not distances.shape[1]:
        return np.full(recording.frames, np.nan)
    domains = np.array(recording.domains, dtype=np.str_)
    for domain in map(str, np.unique(domains)):
        out = left_out(info.leave_out, info.adapters, domain)
        columns = [i for i, name in enumerate(info.adapters) if name in out]
        distances[np.ix_(domains == domain, columns)] = np.nan
    known = np.where(np.isnan(distances), np.inf, distances).min(axis=1)
    nearest: Float64Array = np.where(np.isfinite(known), known, np.nan)
    return nearest


def _levels(
    recording: SequenceResult, strategy: str, nearest: Float64Array, info: StudyInfo
) -> Sequence[str]:
    if strategy == GATED:
        return recording.levels
    return [
        ""
        if math.isnan(score)
        else support_level(
            score,
            distance if math.isnan(novelty) else novelty,
            low=info.support_low,
            out_of_library=info.out_of_library,
        )
        for score, novelty, distance in zip(
            recording.support, recording.novelty, nearest, strict=True
        )
    ]


def _blocks(recording: str, names: StrArray) -> StrArray:
    stage = np.cumsum(np.concatenate([[0], names[1:] != names[:-1]])) if len(names) else names
    return np.array([f"{recording}:{number}" for number in stage], dtype=np.str_)
