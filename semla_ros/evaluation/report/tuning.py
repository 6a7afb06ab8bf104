"""Choose settings for a deployment: from stored embeddings where possible, else from masks."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from semla_ros.bundle import ModelBundle, open_bundle
from semla_ros.core.config import Config, updated
from semla_ros.core.errors import EvaluationError
from semla_ros.data.tasks import Task
from semla_ros.evaluation.analysis.archive import ArchiveScore, archive_scores
from semla_ros.evaluation.analysis.mix_sweep import (
    Choice,
    MixSweep,
    mix_sweep,
    null_distances,
)
from semla_ros.evaluation.analysis.rerun import GateScore, chosen_gate, gate_sweep
from semla_ros.evaluation.analysis.thresholds import RATES, Thresholds, thresholds
from semla_ros.evaluation.report.decisions import take_gate, take_retrieval, take_thresholds
from semla_ros.evaluation.report.tuning_page import Tuned, write_tuning
from semla_ros.evaluation.study.session import Session, StudySettings
from semla_ros.evaluation.study.study import SequenceResult, Study
from semla_ros.library.library import AdapterLibrary
from semla_ros.navigator.distance import DISTANCES, CentroidBank
from semla_ros.pipeline import default_bundle
from semla_ros.pipeline.library_view import bank_of
from semla_ros.pipeline.settings import LiveSettings

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Temperatures tried, in units of the bundle's."""
TOP_KS = (1, 2, 3, 5, 7)
EMA_TIMES_S = (0.0, 0.5, 1.0, 2.0)
TRIGGERS = (0.05, 0.15, 0.3, 0.5, 0.8)


@dataclass(frozen=True, slots=True)
class TuneRequest:
    """What `semla tune` was asked for.

    Attributes:
        studies: Saved evaluations, for filter and debounce.
        tasks: Recordings with truth, for temperature, top_k, distance and null adapter.
        out: Folder of the results.
        settings: How recordings are evaluated.
        temperatures: Tried as they are; empty: `FACTORS` times the bundle's, scaled to each
            distance.
        top_ks: Tried.
        distances: Tried.
        frames: Sampled frames of each recording.
        groups: Numbers of fused models to try for an archive; empty: none.
        false_alarms: Set both thresholds so that this share of frames of known domains passes
            them; 0 keeps the bundle's.
    """

    studies: tuple[Study, ...]
    tasks: tuple[Task, ...]
    out: Path
    settings: StudySettings = field(default_factory=StudySettings)
    temperatures: tuple[float, ...] = ()
    top_ks: tuple[int, ...] = TOP_KS
    distances: tuple[str, ...] = ()
    frames: int = 16
    groups: tuple[int, ...] = ()
    false_alarms: float = 0.0

    def __post_init__(self) -> None:
        unknown = sorted(set(self.distances) - set(DISTANCES))
        if unknown:
            raise EvaluationError(f"expected distances of {tuple(DISTANCES)!r}, got {unknown!r}")
        if self.frames < 1 or not self.top_ks or min(self.top_ks) < 1:
            raise EvaluationError(
                f"expected at least one frame and top_k >= 1, got {self.frames} and {self.top_ks}"
            )
        if not self.studies and not self.tasks:
            raise EvaluationError("expected a study or a recording with truth, got none")


def tune(request: TuneRequest) -> tuple[Tuned, tuple[Path, ...]]:
    """Return what was found, and the files that say so.

    Raises:
        SemlaError: Bundle, studies or recordings cannot be used, or `out` cannot be written.
    """
    bundle = open_bundle(request.settings.bundle or default_bundle())
    config = request.settings.config()
    live = LiveSettings.of(config, bundle.manifest.defaults)
    current = _current(live)
    similarity = config.similarity
    parameters: dict[str, float | int | str] = {}
    if similarity != "bundle":
        parameters["similarity"] = similarity  # what follows holds with it alone
    why: list[str] = []
    retrieval, nulls, archive = _retrieval(request, current)
    if retrieval is not None and nulls is not None:
        take_retrieval(retrieval, nulls, current, parameters, why)
    gate: tuple[GateScore, ...] = ()
    choice = None
    limits: Thresholds | None = None
    if request.studies:
        gate, choice = _gate(request, bundle, config, parameters)
        take_gate(gate, choice, config, parameters, why)
        limits = _thresholds(request, bundle, config, parameters)
        take_thresholds(limits, request.false_alarms, parameters, why)
    tuned = Tuned(parameters, tuple(why), retrieval, nulls, current, gate, choice, archive, limits)
    return tuned, write_tuning(tuned, request.out)


def _current(live: LiveSettings) -> Choice:
    made = live.retrieval
    null = made.null_distance if made.null_distance > 0 else -1.0
    return Choice(live.distance, made.temperature, made.top_k, null)


def _retrieval(
    request: TuneRequest, current: Choice
) -> tuple[MixSweep | None, MixSweep | None, tuple[ArchiveScore, ...]]:
    if not request.tasks:
        return None, None, ()
    with closing(Session(request.settings)) as session:
        choices = _choices(request, session, current)
        frames = request.frames
        with tqdm(unit="frame", disable=None, leave=False, desc="retrieval") as bar:
            sweep = mix_sweep(session, request.tasks, choices, frames=frames, on_frame=bar.update)
            tries = _nulls(request, session, sweep.best().choice)
            nulls = mix_sweep(session, request.tasks, tries, frames=frames, on_frame=bar.update)
        if not request.groups:
            return sweep, nulls, ()
        return sweep, nulls, archive_scores(session, request.tasks, request.groups, frames=frames)


def _nulls(request: TuneRequest, session: Session, best: Choice) -> tuple[Choice, ...]:
    """Return the best choice with other null adapters, and with none."""
    found = null_distances(session, request.tasks, best.distance, frames=request.frames)
    tries = dict.fromkeys((best.null_distance, -1.0, *found))
    return tuple(replace(best, null_distance=null) for null in tries)


def _choices(request: TuneRequest, session: Session, current: Choice) -> tuple[Choice, ...]:
    places = len(session.names) + 1  # the base takes one, too
    top_ks = sorted({min(k, places) for k in (*request.top_ks, current.top_k)})
    found = [current]  # first: it wins where others do as well
    for distance in request.distances or (current.distance,):
        scale = _length(session.bank, current.distance) / _length(session.bank, distance)
        temperatures = request.temperatures or tuple(
            _temperature(factor * scale, current.temperature) for factor in FACTORS
        )
        # A null distance is a length: that of the bundle means nothing in another distance.
        null = current.null_distance if distance == current.distance else -1.0
        found += [Choice(distance, t, k, null) for t in temperatures for k in top_ks]
    return tuple(dict.fromkeys(found))


def _temperature(factor: float, current: float) -> float:
    return current if factor == 1.0 else float(f"{factor * current:.4g}")


def _length(bank: CentroidBank, distance: str) -> float:
    """Return the median distance between centroids: similarities 1/d scale with its inverse."""
    if distance == "mahalanobis" or len(bank.names) < 2:
        return 1.0 if distance != "mahalanobis" else _length(bank, "euclidean")
    rows = [DISTANCES[distance](c.astype(np.float32), bank) for c in bank.centroids]
    apart = np.stack(rows)[~np.eye(len(rows), dtype=np.bool_)]
    return float(np.median(apart))


def _gate(
    request: TuneRequest,
    bundle: ModelBundle,
    config: Config,
    parameters: Mapping[str, float | int | str],
) -> tuple[tuple[GateScore, ...], GateScore]:
    library, bank, settings = _opened(bundle, config, parameters)
    recordings: list[SequenceResult] = [r for s in request.studies for r in s.recordings]
    scores = gate_sweep(
        recordings,
        library,
        bank,
        config=settings.config,
        defaults=bundle.manifest.defaults,
        ema_times_s=sorted({*EMA_TIMES_S, config.ema_time_s}),
        triggers=sorted({*TRIGGERS, config.swap_trigger}),
    )
    return scores, chosen_gate(scores)


def _thresholds(
    request: TuneRequest,
    bundle: ModelBundle,
    config: Config,
    parameters: Mapping[str, float | int | str],
) -> Thresholds | None:
    library, bank, settings = _opened(bundle, config, parameters)
    if bank.whitening is None:
        return None
    rates = sorted({*RATES, request.false_alarms} - {0.0}, reverse=True)
    return thresholds(request.studies, library, bank, settings=settings, rates=rates)


def _opened(
    bundle: ModelBundle, config: Config, parameters: Mapping[str, float | int | str]
) -> tuple[AdapterLibrary, CentroidBank, LiveSettings]:
    """Return the bundle's library and centroids under a configuration with `parameters`."""
    settings = LiveSettings.of(updated(config, parameters), bundle.manifest.defaults)
    library = AdapterLibrary.of(bundle)
    return library, bank_of(library, distance=settings.distance), settings
