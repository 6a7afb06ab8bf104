"""The gate of the live pipeline over recorded embeddings: no image, no network, no clock.

The decisions are made by the pipeline's own parts (`Observer`, `Adaptation`), so they are those of
the robot, not a model of them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from semla_ros.core.answers import known
from semla_ros.core.config import Config, updated
from semla_ros.core.executors import InlineExecutor
from semla_ros.core.types import AdapterMix, Float32Array, Frame, UInt8Array
from semla_ros.evaluation.study.observation import Answer, Observation
from semla_ros.library.library import AdapterLibrary
from semla_ros.library.retrieval import RetrievalSettings
from semla_ros.navigator.distance import CentroidBank
from semla_ros.navigator.navigator import Navigator
from semla_ros.pipeline.adaptation import Adaptation
from semla_ros.pipeline.faults import FaultCounter
from semla_ros.pipeline.observer import Observer
from semla_ros.pipeline.settings import LiveSettings

_NO_IMAGE: UInt8Array = np.zeros((1, 1, 3), dtype=np.uint8)


class _Recorded:
    """An encoder that has seen the frame before."""

    identity = "recorded"

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.embedding: Float32Array = np.zeros(dim, dtype=np.float32)

    def encode(self, rgb: UInt8Array) -> Float32Array:
        """Return the embedding that was recorded for the frame being offered."""
        return self.embedding


class GateReplay:
    """The gate, fed frame by frame with embeddings."""

    def __init__(
        self, library: AdapterLibrary, bank: CentroidBank, settings: LiveSettings
    ) -> None:
        """Start as the pipeline does: with the base, having seen nothing.

        Args:
            library: Adapters to choose from.
            bank: Their centroids, as `bank_of` makes them for the distance in `settings`.
            settings: Everything the gate depends on.
        """
        self._encoder = _Recorded(bank.centroids.shape[1])
        navigator = Navigator(
            self._encoder,
            bank,
            distance=settings.distance,
            time_constant_s=settings.config.ema_time_s,
            max_gap_s=settings.config.max_gap_s,
        )
        observer = Observer(navigator, InlineExecutor())
        self._adaptation = Adaptation(library, observer, settings, faults=FaultCounter())
        self.mix = AdapterMix.base_only()

    def step(
        self, stamp_ns: int, embedding: Float32Array, *, excluded: frozenset[str] = frozenset()
    ) -> Answer:
        """Return what serves the frame that has this embedding; no mask is made or scored.

        Args:
            stamp_ns: Sensor time of the frame.
            embedding: (D,) of the frame alone.
            excluded: Adapters that may not serve it, besides those of the settings.
        """
        self._exclude(excluded)
        swapped = False
        self._adaptation.at(stamp_ns)
        estimate = self._adaptation.observe()
        if estimate is not None:
            decision = self._adaptation.decide(estimate, self.mix, unusable=())
            if decision is not None:
                self.mix, swapped = decision.mix, True
        self._encoder.embedding = embedding
        self._adaptation.offer(Frame(stamp_ns, "", _NO_IMAGE))
        return Answer(self.mix, swapped, known(self._adaptation.support(self.mix)))

    def choose(self, seen: Observation) -> AdapterMix | None:
        """Return the mix for a frame; None without a navigator."""
        if seen.embedding is None:
            return None
        return self.step(seen.stamp_ns, seen.embedding, excluded=seen.excluded).mix

    def _exclude(self, excluded: frozenset[str]) -> None:
        settings = self._adaptation.settings
        wanted = settings.config.excluded | excluded
        if settings.retrieval.exclude != wanted:
            retrieval: RetrievalSettings = replace(settings.retrieval, exclude=wanted)
            self._adaptation.apply(replace(settings, retrieval=retrieval), None)


def with_trigger(config: Config, trigger: float) -> Config:
    """Return `config` with another trigger; the release keeps its proportion to it."""
    share = config.swap_release / config.swap_trigger if config.swap_trigger > 0 else 0.5
    return updated(config, {"swap_trigger": trigger, "swap_release": trigger * share})
