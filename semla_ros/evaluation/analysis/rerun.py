"""Navigator, retrieval and swap policy once more, over stored embeddings: no image, no network.

It is the deciding half of the pipeline itself, fed with embeddings instead of frames, so what it
decides is what the robot would have decided with other settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from semla_ros.errors import EvaluationError
from semla_ros.evaluation.study.record import BoolArray, RecordingTrack
from semla_ros.executors import InlineExecutor
from semla_ros.library.library import AdapterLibrary
from semla_ros.navigator.distance import CentroidBank
from semla_ros.navigator.navigator import Navigator
from semla_ros.pipeline.adaptation import Adaptation
from semla_ros.pipeline.faults import FaultCounter
from semla_ros.pipeline.observer import Observer
from semla_ros.pipeline.settings import LiveSettings
from semla_ros.types import BASE, AdapterMix, Float32Array, Float64Array, Frame, UInt8Array

_NO_PIXELS = np.zeros((1, 1, 3), np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Rerun:
    """What the gated stream would have done.

    Attributes:
        weights: (F, N + 1) float32 share of each adapter in the mask, the base last.
        wanted: (F, N + 1) float32 the mix that retrieval asks for at the frame.
        smoothed: (F,) smoothed support; NaN before the first observation.
        novelty: (F,) of the smoothed embedding; NaN where unknown.
        levels: Support level of each frame, `""` before the first observation.
        swapped: (F,) another mix was committed just before the frame.
    """

    weights: Float32Array
    wanted: Float32Array
    smoothed: Float64Array
    novelty: Float64Array
    levels: tuple[str, ...]
    swapped: BoolArray


class _Recorded:
    """An image encoder that answers with stored embeddings, one after the other."""

    identity = "recorded"

    def __init__(self, embeddings: Float32Array) -> None:
        self._embeddings = embeddings
        self.dim = int(embeddings.shape[1])
        self.position = 0

    def encode(self, rgb: UInt8Array) -> Float32Array:
        """Return the embedding of the frame at `position`."""
        del rgb
        embedding: Float32Array = self._embeddings[self.position]
        return embedding


def rerun(
    recording: RecordingTrack,
    library: AdapterLibrary,
    bank: CentroidBank,
    *,
    settings: LiveSettings,
) -> Rerun:
    """Return what `settings` would have decided on a recording.

    Args:
        recording: With embeddings.
        library: Of the bundle.
        bank: Its centroids, as `settings.distance` needs them.
        settings: Everything that decides.

    Raises:
        EvaluationError: The recording has no embeddings.
    """
    if not recording.frames or recording.embeddings.shape[1] != bank.centroids.shape[1]:
        raise EvaluationError(
            f"expected embeddings of width {bank.centroids.shape[1]} in {recording.name!r}, got "
            f"{recording.embeddings.shape}: evaluate it with this bundle"
        )
    encoder = _Recorded(recording.embeddings)
    config = settings.config
    navigator = Navigator(
        encoder,
        bank,
        distance=settings.distance,
        time_constant_s=config.ema_time_s,
        max_gap_s=config.max_gap_s,
    )
    observer = Observer(navigator, InlineExecutor())
    adaptation = Adaptation(library, observer, settings, faults=FaultCounter())
    return _decided(recording, adaptation, encoder, bank.names)


def _decided(
    recording: RecordingTrack,
    adaptation: Adaptation,
    encoder: _Recorded,
    names: tuple[str, ...],
) -> Rerun:
    number = recording.frames
    columns = {name: i for i, name in enumerate((*names, BASE))}
    weights, wanted = np.zeros((2, number, len(columns)), np.float32)
    smoothed, novelty = np.full((2, number), np.nan)
    levels, swapped = [""] * number, np.zeros(number, np.bool_)
    active = wish = AdapterMix.base_only()
    for i, stamp_ns in enumerate(recording.stamps_ns.tolist()):
        estimate = adaptation.observe(stamp_ns)
        if estimate is not None:
            wish = adaptation.wanted(estimate, unusable=())
            decision = adaptation.decide(estimate, active, unusable=())
            if decision is not None:
                active, swapped[i] = decision.mix, True
        reading = adaptation.support(active)
        if reading is not None:
            smoothed[i], novelty[i], levels[i] = reading.smoothed, reading.novelty, reading.level
        _fill(weights[i], active, columns)
        _fill(wanted[i], wish, columns)
        encoder.position = i
        adaptation.offer(Frame(stamp_ns, "", _NO_PIXELS))
    return Rerun(weights, wanted, smoothed, novelty, tuple(levels), swapped)


def _fill(row: Float32Array, mix: AdapterMix, columns: dict[str, int]) -> None:
    for name, weight in zip(mix.names, mix.weights, strict=True):
        row[columns[name]] = weight


def without(bank: CentroidBank, names: Sequence[str]) -> CentroidBank:
    """Return the bank without some adapters; the spread within domains stays as it was."""
    kept = [i for i, name in enumerate(bank.names) if name not in names]
    return CentroidBank(
        tuple(bank.names[i] for i in kept),
        bank.centroids[kept],
        None if bank.precisions is None else bank.precisions[kept],
        bank.tied_precision,
    )
