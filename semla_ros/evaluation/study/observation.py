"""What is known about a frame before any mask is made."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from semla_ros.core.errors import EvaluationError
from semla_ros.core.types import AdapterMix, Float32Array, Float64Array, Frame, LabelArray
from semla_ros.evaluation.study.scoring import FrameScore


@dataclass(slots=True, eq=False)
class Observation:
    """One frame as every strategy sees it.

    Attributes:
        stamp_ns: Sensor time.
        domain: Its domain, "" if unknown; only the oracle and leave-one-out use it.
        embedding: (D,) float32; None without a navigator.
        distances: (N,) of the embedding to the adapters; empty without a navigator.
        excluded: Adapters that are left out for this frame.
        frame: The image; None once its block is done.
        truth: (H, W) class ids, T where not scored; None without truth or once its block is done.
        scored: There was truth.
        novelty, support: See `SequenceResult`.
        scores: Mix -> its score on this frame, so that no mix is computed twice.
    """

    stamp_ns: int
    domain: str = ""
    embedding: Float32Array | None = None
    distances: Float64Array = field(default_factory=lambda: np.zeros(0))
    excluded: frozenset[str] = frozenset()
    frame: Frame | None = None
    truth: LabelArray | None = None
    scored: bool = False
    novelty: float = math.nan
    support: float = math.nan
    scores: dict[AdapterMix, FrameScore] = field(default_factory=dict)

    @property
    def image(self) -> Frame:
        """The image.

        Raises:
            EvaluationError: Its block is done.
        """
        if self.frame is None:
            raise EvaluationError(f"the frame stamped {self.stamp_ns} is no longer at hand")
        return self.frame

    def forget(self) -> None:
        """Let go of the pictures: the block is done."""
        self.frame = self.truth = None
        self.scores.clear()
