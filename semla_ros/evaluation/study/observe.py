"""What is known about a frame before any mask is made."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from semla_ros.errors import EvaluationError
from semla_ros.evaluation.replay import mask_crc32
from semla_ros.evaluation.study.inputs import Shot
from semla_ros.evaluation.study.scoring import FrameScore
from semla_ros.evaluation.study.session import Session
from semla_ros.evaluation.study.strategies import Look, left_out, semla_mix
from semla_ros.navigator.distance import DISTANCES, novelties
from semla_ros.navigator.support import support_score
from semla_ros.timing import StageTimer
from semla_ros.types import AdapterMix, Frame, LabelArray


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """One frame as every strategy sees it.

    Attributes:
        shot: Where it comes from; without its frame once the block is done.
        look: What strategies may know.
        truth: (H, W) class ids, T where not scored; None without truth.
        novelty, support: See `RecordingTrack`.
        scores: Mix -> its score on this frame, so that no mix is computed twice.
    """

    shot: Shot
    look: Look
    truth: LabelArray | None
    novelty: float
    support: float
    scores: dict[AdapterMix, FrameScore] = field(default_factory=dict)

    @property
    def frame(self) -> Frame:
        """The image.

        Raises:
            EvaluationError: Its block is done.
        """
        if self.shot.frame is None:
            raise EvaluationError(f"frame {self.shot.index} is no longer at hand")
        return self.shot.frame

    def without_pictures(self) -> Sight:
        """Return what is kept when the block is done."""
        return replace(self, shot=replace(self.shot, frame=None), truth=None, scores={})


class Watcher:
    """Embeds frames and measures where they are."""

    def __init__(self, session: Session, timer: StageTimer) -> None:
        """Watch with the session's navigator, if it has one."""
        self._session = session
        self._timer = timer

    def look(self, shot: Shot, domain: str, truth: LabelArray | None) -> Sight:
        """Return what is known about `shot`.

        Raises:
            FrameError: It has no finite embedding.
        """
        session, frame = self._session, shot.frame
        excluded = left_out(session.settings.leave_out, session.names, domain)
        if session.encoder is None or frame is None:
            look = Look(shot.stamp_ns, domain, None, np.zeros(0), excluded)
            return Sight(shot, look, truth, math.nan, math.nan)
        embedding = session.encoder.encode(frame.rgb)
        distances = DISTANCES[session.live.distance](embedding, session.bank)
        look = Look(shot.stamp_ns, domain, embedding, distances, excluded)
        return Sight(shot, look, truth, self._novelty(look), self._support(look))

    def base_mask(self, shot: Shot) -> int:
        """Return the checksum of the mask that the base makes of `shot`."""
        frame = shot.frame
        if frame is None:
            raise EvaluationError(f"frame {shot.index} is no longer at hand")
        with self._timer.stage("fuse"):
            self._session.serve(AdapterMix.base_only(), shot.stamp_ns)
        with self._timer.stage("infer"):
            prediction = self._session.segment(frame.rgb)
        return mask_crc32(prediction.labels)

    def _novelty(self, look: Look) -> float:
        """Return the smallest novelty over what may serve; NaN where unknown."""
        session = self._session
        if look.embedding is None:
            return math.nan
        values = novelties(look.embedding, session.bank)
        banned = session.live.retrieval.exclude | look.excluded
        allowed = [i for i, n in enumerate(session.names) if n not in banned]
        if values is None or not allowed:
            return math.nan
        return float(values[allowed].min())

    def _support(self, look: Look) -> float:
        session = self._session
        mix = semla_mix(session.names, look, session.live.retrieval)
        if mix is None:
            return math.nan
        null = session.live.retrieval.null_distance
        return support_score(mix, session.names, look.distances, null_distance=null)
