"""One row a frame: the signals that might tell how good a mask is, and how good it was."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from semla_ros.errors import EvaluationError
from semla_ros.evaluation.study.record import (
    GATED,
    SEMLA,
    BoolArray,
    RecordingTrack,
    Study,
    StudyInfo,
)
from semla_ros.evaluation.study.scores import miou_of
from semla_ros.evaluation.study.strategies import left_out
from semla_ros.navigator.support import support_level
from semla_ros.types import Float64Array

OUT_OF_LIBRARY = "OUT_OF_LIBRARY"
StrArray = npt.NDArray[np.str_]
SIGNALS = ("support", "confidence", "novelty", "nearest_distance")
"""Names of the signals of `FrameTable`; large means good for the first two, bad for the others."""
GOOD_WHEN_LARGE = {
    "support": True,
    "confidence": True,
    "novelty": False,
    "nearest_distance": False,
}


@dataclass(frozen=True, slots=True, eq=False)
class FrameTable:
    """F frames of one strategy, all recordings one after the other.

    Attributes:
        support: (F,) what the mask's mix is supported by: the smoothed score where the gated
            strategy is shown, else the frame's own; NaN where unknown.
        confidence: (F,) mean confidence of the mask, 0..1.
        novelty: (F,) smallest novelty; NaN where unknown.
        nearest_distance: (F,) distance of the frame's own embedding to the nearest centroid.
        miou: (F,) over the classes of the frame, in [0, 1]; NaN where not scored.
        domain: (F,) name; the recording's where the frame has none.
        block: (F,) which unbroken stretch of one domain in one recording: frames of a block
            resemble each other and count as one block, not as independent trials.
        level: (F,) support level: the gated stream's, else that of the frame alone; empty where
            unknown.
    """

    support: Float64Array
    confidence: Float64Array
    novelty: Float64Array
    nearest_distance: Float64Array
    miou: Float64Array
    domain: StrArray
    block: StrArray
    level: StrArray

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
        if name not in SIGNALS:
            raise EvaluationError(f"expected a signal of {SIGNALS!r}, got {name!r}")
        values: Float64Array = getattr(self, name)
        return values if GOOD_WHEN_LARGE[name] else -values

    @property
    def judged(self) -> FrameTable:
        """The frames with a truth and a support score."""
        return self.where(np.isfinite(self.miou) & np.isfinite(self.support))

    @property
    def promised(self) -> FrameTable:
        """The judged frames that are not OUT_OF_LIBRARY: there a bundle promises nothing."""
        return self.where(self.level != OUT_OF_LIBRARY).judged


def main_strategy(study: Study) -> str:
    """Return the strategy the robot is judged by: gated, else SemLA per frame, else the first.

    Raises:
        EvaluationError: The study has none.
    """
    for name in (GATED, SEMLA, *study.info.strategies):
        if any(name in r.tracks for r in study.recordings):
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
            if name in recording.tracks
        ]
    if not parts:
        raise EvaluationError(
            f"expected recordings with strategy {strategy!r}, got none: evaluate with it"
        )
    return FrameTable(
        **{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(FrameTable)}
    )


def _rows(recording: RecordingTrack, strategy: str, block: str, info: StudyInfo) -> FrameTable:
    track = recording.tracks[strategy]
    nearest = _nearest(recording, info)
    domains = [d or recording.name for d in recording.domains]
    return FrameTable(
        support=recording.smoothed if strategy == GATED else recording.support,
        confidence=track.confidence.astype(np.float64),
        novelty=recording.novelty,
        nearest_distance=nearest,
        miou=np.where(recording.scored, miou_of(track.counts), np.nan),
        domain=np.array(domains, dtype=np.str_),
        block=_blocks(block, domains),
        level=np.array(_levels(recording, strategy, nearest, info), dtype=np.str_),
    )


def _nearest(recording: RecordingTrack, info: StudyInfo) -> Float64Array:
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
    recording: RecordingTrack, strategy: str, nearest: Float64Array, info: StudyInfo
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


def _blocks(recording: str, domains: Sequence[str]) -> StrArray:
    names = np.array(domains, dtype=np.str_)
    stage = np.cumsum(np.concatenate([[0], names[1:] != names[:-1]])) if len(names) else names
    return np.array([f"{recording}:{number}" for number in stage], dtype=np.str_)
