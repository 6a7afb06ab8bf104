"""What an evaluation leaves behind: one frozen `Study`, from which every report is made.

A study holds what was decided and counted on every frame for every strategy, so tables, plots,
calibration and tuning need neither the recordings nor the model. `store` saves and loads it.

F frames, T classes, N adapters (columns follow `StudyInfo.adapters`), D width of an embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from semla_ros.core.errors import EvaluationError
from semla_ros.core.types import Float32Array, Float64Array
from semla_ros.data.metrics import Int64Array
from semla_ros.evaluation.result import SkippedRecord

UInt32Array = npt.NDArray[np.uint32]
BoolArray = npt.NDArray[np.bool_]
StrArray = npt.NDArray[np.str_]

ZERO_SHOT, UNIFORM, SEMLA = "zero-shot", "uniform", "semla"
GATED, ORACLE, FIXED = "semla-gated", "oracle", "fixed:"
GATED_AT = "semla-gated@"
"""Names of strategies: the base alone; all adapters alike; SemLA on every frame by itself; SemLA
as the robot runs it (filter and debounce); the adapter named like the frame's domain; a given mix
(`fixed:fog=0.7,rain=0.3`); the gate with another trigger (`semla-gated@0.5`), for the curve of
mIoU against fusions.
"""
ADAPTER_SOUP, TOP_K_WEIGHTED = "adapter-soup", "top-k-weighted"
LDA_GATE, LATE_FUSION = "lda-gate", "late-fusion"
"""Names of baselines from the literature, see `strategies`; Model Soups is `uniform`."""


@dataclass(frozen=True, slots=True, eq=False)
class StrategyResult:
    """What one strategy did on every frame of one recording.

    Attributes:
        strategy: Its name.
        counts: (F, 3, T) int64: true positives, false positives, false negatives of each class;
            zeros where a frame was not scored. A prediction outside the class list is a false
            negative of its true class and no false positive.
        weights: (F, N + 1) float32 share of each adapter in the mask; the last column is the base.
        signals: (F, S) float64 signals of the mask, see `mask_signals`; NaN without a mask.
        mask_crc32: (F,) uint32 checksum of the mask at the image's size.
        swapped: (F,) bool: another mix was committed just before this frame.
    """

    strategy: str
    counts: Int64Array
    weights: Float32Array
    signals: Float64Array
    mask_crc32: UInt32Array
    swapped: BoolArray

    @property
    def confidence(self) -> Float64Array:
        """(F,) mean confidence of the mask, 0..1."""
        return self.signals[:, 0]


@dataclass(frozen=True, slots=True, eq=False)
class SequenceResult:
    """One recording: what was seen on every frame, and what each strategy made of it.

    Attributes:
        source: The input, as the user named it.
        name: Short and unique within a study.
        topic: The image topic; empty for folders and videos.
        stamps_ns: (F,) int64 sensor time.
        domains: Domain of each frame, `""` where unknown; runs of one domain are stages.
        scored: (F,) bool: there was ground truth.
        embeddings: (F, D) float32 of each frame alone; D = 0 without a navigator.
        distances: (F, N) float64 of these to the adapters' centroids.
        novelty: (F,) float64, smallest novelty over the adapters that might serve; NaN if unknown.
        support: (F,) float64 score of the mix SemLA picks for the frame alone; NaN if unknown.
        smoothed: (F,) float64 smoothed score of the gated stream, as the node publishes it; NaN
            before its first observation or where the gated strategy did not run.
        levels: Support level of the gated stream at each frame, `""` where `smoothed` is NaN.
        results: Strategy -> what it did, in the order of `StudyInfo.strategies`; a strategy may be
            missing where it has no meaning (`oracle` without domains).
        skipped: Frames that could not be used, and why.
        notes: What a reader should know about this recording.
        ended_early: Why it stopped before its end; empty if it did not.
        probe_crc32: Mask of the first frame with the base weights, before and after everything:
            equal where returning to the base is bit-identical; empty where there was no frame.
    """

    source: str
    name: str
    topic: str
    stamps_ns: Int64Array
    domains: tuple[str, ...]
    scored: BoolArray
    embeddings: Float32Array
    distances: Float64Array
    novelty: Float64Array
    support: Float64Array
    smoothed: Float64Array
    levels: tuple[str, ...]
    results: Mapping[str, StrategyResult]
    skipped: tuple[SkippedRecord, ...] = ()
    notes: tuple[str, ...] = ()
    ended_early: str = ""
    probe_crc32: tuple[int, ...] = ()

    @property
    def frames(self) -> int:
        """Number of frames F."""
        return len(self.stamps_ns)

    @property
    def places(self) -> StrArray:
        """(F,) domain of each frame, the recording's name where it is unknown."""
        return np.array([domain or self.name for domain in self.domains], dtype=np.str_)

    @property
    def indices(self) -> list[int]:
        """Place in the input of each row: skipped frames have a place but no row."""
        skipped = {s.index for s in self.skipped}
        places = (i for i in range(self.frames + len(skipped)) if i not in skipped)
        return list(islice(places, self.frames))


@dataclass(frozen=True, slots=True)
class StudyInfo:
    """What was evaluated, and how.

    Attributes:
        bundle: Name of the model bundle.
        bundle_sha256: Over its sealed files and its adapters; calibration and defaults left out.
        engine: Name of the engine that ran.
        classes: Class names in id order.
        adapters: Names in the library's order: the columns of weights and distances.
        label_map: How truth became classes, "" without truth.
        strategies: In the order they are shown.
        parameters: Every setting that decides a result, resolved (`temperature`, `top_k`, …).
        versions: Component -> version.
        support_low: Score below which the level is LOW; 0 if unknown.
        out_of_library: Novelty above which the level is OUT_OF_LIBRARY; 0 if unknown.
        excluded: Domains left out of the means over domains.
        leave_out: `domain`, a pattern of adapter names, or "": what uniform, semla and semla-gated
            might not use.
        colors: RGB of each class.
    """

    bundle: str
    bundle_sha256: str
    engine: str
    classes: tuple[str, ...]
    adapters: tuple[str, ...]
    label_map: str = ""
    strategies: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    support_low: float = 0.0
    out_of_library: float = 0.0
    excluded: tuple[str, ...] = ()
    leave_out: str = ""
    colors: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """One evaluation: saved, merged and shown again without recordings or model."""

    info: StudyInfo
    recordings: tuple[SequenceResult, ...]
    notes: tuple[str, ...] = ()

    @property
    def frames(self) -> int:
        """Number of frames of all recordings."""
        return sum(r.frames for r in self.recordings)

    @property
    def complete(self) -> bool:
        """Whether every recording was evaluated to its end."""
        return not any(r.ended_early for r in self.recordings)


def merge_studies(studies: Sequence[Study]) -> Study:
    """Return one study of all recordings; equal names get a number.

    Raises:
        EvaluationError: No study, or they differ in bundle, classes or adapters.
    """
    if not studies:
        raise EvaluationError("expected at least one study to merge, got none")
    first = studies[0].info
    for study in studies[1:]:
        for name in ("bundle_sha256", "classes", "adapters"):
            mine, other = getattr(first, name), getattr(study.info, name)
            if mine != other:
                raise EvaluationError(
                    f"expected studies with equal {name}, got {mine!r} and {other!r}: "
                    "compare them side by side instead of merging"
                )
    names = tuple(dict.fromkeys(s for study in studies for s in study.info.strategies))
    recordings = [r for study in studies for r in study.recordings]
    notes = tuple(dict.fromkeys(note for study in studies for note in study.notes))
    return Study(replace(first, strategies=names), _distinct(recordings), notes)


def _distinct(recordings: Sequence[SequenceResult]) -> tuple[SequenceResult, ...]:
    taken: set[str] = set()
    renamed = []
    for each in recordings:
        name, number = each.name, 2
        while name in taken:
            name, number = f"{each.name}-{number}", number + 1
        taken.add(name)
        renamed.append(each if name == each.name else replace(each, name=name))
    return tuple(renamed)
