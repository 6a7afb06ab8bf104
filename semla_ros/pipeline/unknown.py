"""Does the camera see something that the library does not know? Judged over time."""

from __future__ import annotations

import math

import numpy as np

from semla_ros.core.config import Config
from semla_ros.core.types import DomainEstimate
from semla_ros.navigator.smoothing import EmbeddingFilter
from semla_ros.pipeline.settings import LiveSettings


class UnknownWatch:
    """Filters the novelty of single frames over stream time; used by the frame loop alone.

    It is not the novelty of the filtered embedding: unlike frames of an unknown place average to
    a known one, and a change of weather passes through embeddings that no domain has
    (docs/library.md, "The alarm's threshold").

    Attributes:
        novelty: Of what was seen lately, NaN where the library does not know it.
        outside: Whether it counts as unknown, where the base may serve; it takes a clearly
            smaller novelty to come back.
    """

    def __init__(self, config: Config) -> None:
        """Have seen nothing."""
        self._filter = EmbeddingFilter(config.ema_time_s, config.max_gap_s)
        self.novelty, self.outside = math.nan, False

    def look(self, estimate: DomainEstimate, settings: LiveSettings) -> None:
        """Take in the newest observation."""
        newest = settings.novelty(estimate)
        self.novelty = newest
        if math.isfinite(newest):
            value = np.array([newest], np.float32)
            self.novelty = float(self._filter.update(estimate.stamp_ns, value)[0])
        self.outside = settings.outside(estimate, novelty=self.novelty, before=self.outside)

    def reset(self) -> None:
        """Forget what was seen."""
        self._filter.reset()
        self.novelty, self.outside = math.nan, False

    def configure(self, config: Config) -> None:
        """Filter from now on with other times; what was seen stays."""
        self._filter.time_constant_s = config.ema_time_s
        self._filter.max_gap_s = config.max_gap_s
