"""How well embeddings tell domains apart, and a domain that is missing from the others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from semla_ros.core.novelty import EmbeddingSample
from semla_ros.core.types import Float32Array, Float64Array
from semla_ros.evaluation.analysis.detection import auroc
from semla_ros.evaluation.study.study import BoolArray
from semla_ros.navigator.distance import CentroidBank, euclidean, novelties
from semla_ros.navigator.held_out import library_alarm, tied_whitening
from semla_ros.prepare.curation.spread import sample_of

Rows = Mapping[str, Float32Array]
"""Domain -> (n, D) embeddings."""


@dataclass(frozen=True, slots=True)
class Missing:
    """One domain taken out of the library.

    Attributes:
        auroc: Of the novelty of its frames among those of the other domains.
        found: Share of its frames beyond the threshold of the library without it.
        false_alarms: Share of the others' frames beyond it.
    """

    auroc: float
    found: float
    false_alarms: float


def nearest(train: Rows, test: Rows) -> tuple[float, float]:
    """Return on how many frames the nearest domain is their own, by distance and by novelty.

    Args:
        train: What the library is made of.
        test: Frames of some of the same domains.
    """
    bank = bank_of_rows(train)
    hits = []
    for name, rows in test.items():
        for row in rows:
            ways = euclidean(row, bank), _novelties(row, bank)
            hits.append([bank.names[int(np.argmin(each))] == name for each in ways])
    by_distance, by_novelty = np.mean(hits, axis=0).tolist()
    return by_distance, by_novelty


def missing(train: Rows, tests: Sequence[Rows], name: str) -> list[Missing]:
    """Return how well the alarm finds frames of `name`, which the library lacks, for each test.

    Args:
        train: What the library is made of, with that domain.
        tests: Frames of the same domains.
        name: The domain.
    """
    bank = bank_of_rows({key: rows for key, rows in train.items() if key != name})
    alarm = bank.alarm
    threshold = alarm.threshold if alarm is not None and not alarm.reason else math.inf
    found = []
    for test in tests:
        frames = [(row, key == name) for key, rows in test.items() for row in rows]
        novelty = np.array([_novelties(row, bank).min() for row, _ in frames])
        unknown: BoolArray = np.array([is_unknown for _, is_unknown in frames])
        outside = novelty > threshold
        shares = (float(outside[each].mean()) for each in (unknown, ~unknown))
        found.append(Missing(auroc(novelty, unknown), *shares))
    return found


def bank_of_rows(rows: Rows) -> CentroidBank:
    """Return the library of these domains as the pipeline measures to it."""
    samples = [_sample(each) for each in rows.values()]
    names = tuple(rows)
    return CentroidBank(
        names,
        np.stack([each.mean(axis=0, dtype=np.float64) for each in rows.values()]),
        whitening=tied_whitening([each.embeddings.astype(np.float64) for each in samples]),
        alarm=library_alarm(names, samples),
    )


def _sample(rows: Float32Array) -> EmbeddingSample:
    return sample_of(lambda: iter([rows]), count=len(rows))


def _novelties(row: Float32Array, bank: CentroidBank) -> Float64Array:
    found = novelties(row, bank)
    return np.full(len(bank.names), np.nan) if found is None else found
