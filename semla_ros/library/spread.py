"""Statistics of many domains in bounded memory: covariances are pooled, only some are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from semla_ros.core.types import Float64Array
from semla_ros.library.statistics import MAX_SAMPLE, DomainStatistics

COVARIANCE_BYTES = 256 * 2**20
"""Covariances kept one by one; they are for the distance `mahalanobis` alone."""
SAMPLE_BYTES = 8 * 2**20
"""Samples kept; beyond, every domain keeps every second of its images, and again if need be."""


@dataclass(frozen=True, slots=True)
class PooledSpread:
    """The spread within domains, all domains that know theirs together.

    Attributes:
        covariance: (D, D) float64, mean of the covariances weighted with their counts.
        count: Images behind it.
    """

    covariance: Float64Array
    count: int


class StatisticsStore:
    """Statistics by adapter; beyond a bound they lose their covariance, which stays pooled."""

    def __init__(
        self, *, covariance_bytes: int = COVARIANCE_BYTES, sample_bytes: int = SAMPLE_BYTES
    ) -> None:
        """Hold none yet."""
        self._room = covariance_bytes
        self._sample_bytes = sample_bytes
        self._sampled, self._step = 0, 1
        self._kept: dict[str, DomainStatistics] = {}
        self._sum: Float64Array | None = None
        self._count = 0
        self._silent: list[str] = []
        self._bared: set[str] = set()

    @property
    def by_name(self) -> Mapping[str, DomainStatistics]:
        """Statistics by adapter name."""
        return MappingProxyType(self._kept)

    @property
    def spread(self) -> PooledSpread | None:
        """The pooled spread, None where no domain knows its own."""
        if self._sum is None:
            return None
        return PooledSpread(self._sum / self._count, self._count)

    @property
    def silent(self) -> tuple[str, ...]:
        """Domains that do not know their spread: they are taken to spread as the others do."""
        return tuple(self._silent)

    def whole(self, name: str) -> DomainStatistics | None:
        """Return the statistics of `name` as they were added, None where some were given up."""
        kept = self._kept.get(name)
        return None if kept is None or name in self._bared or self._step > 1 else kept

    def add(self, name: str, statistics: DomainStatistics) -> None:
        """Take the statistics of adapter `name`."""
        covariance, count = statistics.covariance, statistics.count
        if covariance is None or count is None:
            self._silent.append(name)
        else:
            self._sum = np.zeros_like(covariance) if self._sum is None else self._sum
            self._sum += count * covariance
            self._count += count
        if covariance is not None and covariance.nbytes > self._room:
            statistics = replace(statistics, covariance=None)
            self._bared.add(name)
        elif covariance is not None:
            self._room -= covariance.nbytes
        sample = statistics.sample
        if sample is not None:
            sample = sample.every(self._step)
            self._sampled += sample.embeddings.nbytes
        self._kept[name] = replace(statistics, sample=sample)
        while self._sampled > self._sample_bytes and self._step < MAX_SAMPLE:
            self._thin()

    def _thin(self) -> None:
        self._step *= 2
        self._sampled = 0
        for name, each in self._kept.items():
            if each.sample is not None:
                sample = each.sample.every(2)
                self._sampled += sample.embeddings.nbytes
                self._kept[name] = replace(each, sample=sample)
