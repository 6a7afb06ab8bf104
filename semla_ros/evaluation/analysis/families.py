"""The alarm for unknown scenes, tested by taking whole families of domains out of the library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import numpy as np

from semla_ros.core.errors import EmptyLibraryError
from semla_ros.core.mask_signals import SIGNALS
from semla_ros.core.types import Float32Array
from semla_ros.evaluation.analysis.detection import Alarm, alarms, families, rates
from semla_ros.evaluation.analysis.frames import FrameTable
from semla_ros.evaluation.analysis.rerun import without
from semla_ros.evaluation.study.study import StrArray, Study
from semla_ros.library.retrieval import RetrievalSettings, retrieve
from semla_ros.navigator.distance import DISTANCES, CentroidBank, novelties
from semla_ros.navigator.support import support_score


@dataclass(frozen=True, slots=True)
class FamilyAlarm:
    """One family taken out of the library.

    Attributes:
        family: Pattern of the domains that became unknown.
        alarms: Every signal as an alarm, the threshold set at 1 % false alarms.
        false_alarms: Share of known single frames above the bundle's own threshold.
        found: Share of unknown single frames above it.
    """

    family: str
    alarms: tuple[Alarm, ...]
    false_alarms: float
    found: float


def family_alarms(
    study: Study,
    bank: CentroidBank,
    *,
    settings: RetrievalSettings,
    distance: str,
    out_of_library: float,
    patterns: Sequence[str],
) -> tuple[FamilyAlarm, ...]:
    """Return the alarm of each family: its adapters leave the library, its frames are unknown.

    Signals are those of single frames, without the filter. The spread within domains, which
    novelty is measured in, is kept from the whole library. Confidence needs masks that were made
    without the family and is left out.

    Args:
        study: With embeddings and named domains.
        bank: Centroids of the whole library.
        settings: Retrieval.
        distance: Its distance.
        out_of_library: The bundle's threshold of novelty.
        patterns: One family each.

    Raises:
        EvaluationError: A pattern matches no domain, or all.
        MissingExtraError: scikit-learn is missing.
    """
    domains = np.concatenate([r.places for r in study.recordings])
    embeddings = np.concatenate([r.embeddings for r in study.recordings])
    found = []
    for pattern, inside in families(domains, patterns).items():
        fewer = without(bank, [n for n in bank.names if fnmatchcase(n, pattern)])
        table = _signals(embeddings, domains, fewer, settings, distance=distance)
        known, unknown = table.where(~inside), table.where(inside)
        false, true = rates(table.novelty, threshold=out_of_library, known=~inside)
        signals = alarms(known, unknown, family=pattern)
        found.append(FamilyAlarm(pattern, signals, false, true))
    return tuple(found)


def _signals(
    embeddings: Float32Array,
    domains: StrArray,
    bank: CentroidBank,
    settings: RetrievalSettings,
    *,
    distance: str,
) -> FrameTable:
    measure = DISTANCES[distance]
    rows = np.full((len(embeddings), 3), np.nan)
    settings = replace(settings, exclude=frozenset())
    for row, embedding in zip(rows, embeddings, strict=True):
        distances = measure(embedding, bank)
        try:
            mix = retrieve(bank.names, distances, settings=settings)
        except EmptyLibraryError:
            continue
        score = support_score(mix, bank.names, distances)
        new = novelties(embedding, bank)
        nearest = float(distances.min()) if distances.size else math.nan
        row[:] = score, math.nan if new is None else new.min(), nearest
    nothing = np.full(len(embeddings), np.nan)
    return FrameTable(
        support=rows[:, 0],
        mask=np.full((len(embeddings), len(SIGNALS)), np.nan),
        novelty=rows[:, 1],
        nearest_distance=rows[:, 2],
        mix_entropy=nothing,
        miou=nothing,
        domain=domains,
        block=domains,
        level=np.full(len(embeddings), "", dtype=np.str_),
        expected=nothing,
    )
