"""Statistics of a domain from its embeddings, in two passes over blocks of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from semla_ros.errors import LibraryError
from semla_ros.library.statistics import DistanceQuantiles, DomainStatistics
from semla_ros.types import Float32Array, Float64Array

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
"""Quantile levels of the own-domain distance."""

Chunks = Callable[[], Iterator[Float32Array]]
"""Starts a pass over the embeddings, (n, D) float32 at a time, always in the same order."""


@dataclass(frozen=True, slots=True)
class ShrunkCovariance:
    """A covariance and how much of it was not measured.

    Attributes:
        covariance: (D, D) float64, (1 - shrinkage) S + shrinkage mu I, with S the unbiased sample
            covariance and mu its mean variance.
        shrinkage: In [0, 1]; 1 for a multiple of the identity.
    """

    covariance: Float64Array
    shrinkage: float


def domain_statistics(chunks: Chunks, *, encoder: str) -> DomainStatistics:
    """Return centroid, count, covariance and own-domain distances of the embeddings.

    The centroid is the plain mean of embeddings that are not normalised, as in SemLA. Distances
    are Euclidean and leave-one-out: each image to the mean of the others, which is n / (n - 1)
    times its distance to the centroid. One image has neither covariance nor distances.

    Args:
        chunks: The embeddings; at least one row in all.
        encoder: Identity of the encoder that made them.

    Raises:
        LibraryError: No rows.
    """
    mean, count = _mean(chunks)
    quantiles, spread = None, None
    if count > 1:
        away = np.sqrt(np.concatenate([_squares(c, mean) for c in chunks()]))
        distances = away * (count / (count - 1))
        levels = np.asarray(LEVELS)
        quantiles = DistanceQuantiles(levels, np.quantile(distances, levels))
        spread = shrunk_covariance(chunks, mean, count=count)
    return DomainStatistics(
        centroid=mean.astype(np.float32),
        count=count,
        covariance=spread.covariance if spread else None,
        encoder=encoder,
        quantiles=quantiles,
        shrinkage=spread.shrinkage if spread else None,
    )


def shrunk_covariance(chunks: Chunks, mean: Float64Array, *, count: int) -> ShrunkCovariance:
    """Return the covariance of the embeddings, shrunk towards a multiple of the identity.

    With x_k the centred rows, S = sum x_k x_k^T / n, mu = tr(S) / D and Frobenius norms:
    delta2 = |S - mu I|^2, beta2 = min(delta2, (sum |x_k|^4 / n - |S|^2) / n), and the shrinkage
    is beta2 / delta2. Many images, or few directions, give almost none; few images almost all.

    Source: Ledoit and Wolf, 2004, "A well-conditioned estimator for large-dimensional covariance
        matrices"; the result is then scaled by n / (n - 1), so that it has no bias.

    Args:
        chunks: The embeddings.
        mean: (D,) their mean.
        count: Their number, at least 2.
    """
    dim = len(mean)
    sample = np.zeros((dim, dim))
    fourth = 0.0
    for chunk in chunks():
        centred = chunk.astype(np.float64) - mean
        sample += centred.T @ centred
        fourth += float((np.square(centred).sum(axis=1) ** 2).sum())
    sample /= count
    level = float(np.trace(sample)) / dim
    square = float((sample**2).sum())
    delta2 = square - dim * level**2
    beta2 = (fourth / count - square) / count
    shrinkage = min(1.0, max(0.0, beta2 / delta2)) if delta2 > 0 else 1.0
    sample *= 1.0 - shrinkage
    sample[np.diag_indices(dim)] += shrinkage * level
    return ShrunkCovariance(sample * (count / (count - 1)), shrinkage)


def _mean(chunks: Chunks) -> tuple[Float64Array, int]:
    total: Float64Array | None = None
    count = 0
    for chunk in chunks():
        part: Float64Array = chunk.sum(axis=0, dtype=np.float64)
        total = part if total is None else total + part
        count += len(chunk)
    if total is None or count == 0:
        raise LibraryError("expected embeddings, got none")
    return total / count, count


def _squares(chunk: Float32Array, mean: Float64Array) -> Float64Array:
    centred = chunk.astype(np.float64) - mean
    squares: Float64Array = np.square(centred).sum(axis=1)
    return squares
