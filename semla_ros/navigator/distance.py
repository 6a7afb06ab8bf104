"""Distances of an embedding to the library's centroids: small = near."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from semla_ros.errors import ConfigError, LibraryError
from semla_ros.navigator.centroids import CentroidBank
from semla_ros.navigator.held_out import whitening
from semla_ros.types import MIN_DISTANCE, Distances, Float32Array, Float64Array

__all__ = [
    "DISTANCES",
    "MIN_COVARIANCE_SAMPLES",
    "CentroidBank",
    "Distance",
    "cosine",
    "euclidean",
    "look_up",
    "look_up_novelties",
    "mahalanobis",
    "mahalanobis_precisions",
    "novelties",
    "pooled_whitening",
]

MIN_COVARIANCE_SAMPLES = 500
"""Fewer images give no covariance worth inverting. Source: SemLA, supplement (Mahalanobis)."""


def mahalanobis_precisions(
    names: Sequence[str],
    covariances: Sequence[Float64Array | None],
    *,
    counts: Sequence[int | None],
    ridge: float = 0.1,
    min_samples: int = MIN_COVARIANCE_SAMPLES,
) -> Float64Array:
    """Return inv(covariance + eps I) of each domain, (K, D, D) float64.

    Args:
        names: The domains, for messages.
        covariances: (D, D) each; None where unknown.
        counts: Images behind each; None where unknown.
        ridge: eps as a share of the domain's mean variance, > 0.
        min_samples: Domains with fewer images are refused.

    Raises:
        ConfigError: `ridge` is not above 0.
        LibraryError: Domains without a covariance, or with too few images; all are named.
    """
    if not ridge > 0:
        raise ConfigError(f"expected a ridge above 0, got {ridge!r}")
    thin = {
        name: count
        for name, covariance, count in zip(names, covariances, counts, strict=True)
        if covariance is None or count is None or count < min_samples
    }
    if thin:
        raise LibraryError(
            f"distance 'mahalanobis' expects a covariance of at least {min_samples} images per "
            f"domain, got image counts {thin!r}: remove those adapters or use 'euclidean'"
        )
    inverses = [_regularised_inverse(c, ridge) for c in covariances if c is not None]
    return np.stack(inverses) if inverses else np.zeros((0, 0, 0))


def pooled_whitening(
    covariances: Sequence[Float64Array | None],
    *,
    counts: Sequence[int | None],
    min_samples: int = MIN_COVARIANCE_SAMPLES,
) -> Float64Array | None:
    """Return `whitening` of the spread within domains, (D, D) float64, from their covariances.

    Domains that do not know their covariance are taken to spread as the others do. None where
    none knows it, or all together hold too few images.

    Args:
        covariances: (D, D) each; None where unknown.
        counts: Images behind each; None where unknown.
        min_samples: Fewer images in all give None.

    Source: Lee et al., 2018, "A simple unified framework for detecting out-of-distribution
        samples": class-conditional Gaussians with one covariance.
    """
    known = [
        (c, n) for c, n in zip(covariances, counts, strict=True) if c is not None and n is not None
    ]
    total = sum(n for _, n in known)
    if total < min_samples:
        return None
    pooled = sum((n / total) * c for c, n in known)
    return whitening(np.asarray(pooled, dtype=np.float64))


def novelties(embedding: Float32Array, bank: CentroidBank) -> Float64Array | None:
    """Return the distance to each centroid in units of the spread within domains, (K,).

    None where the bank does not know that spread. Euclidean distance is ruled by the few
    directions in which domains differ; what no domain shows lies in the others.
    """
    if bank.whitening is None or bank.turned is None:
        return None
    point = _checked(embedding, bank)
    if bank.whitened is not None:
        return bank.whitened.distances(point).values()
    away: Float64Array = np.linalg.norm(bank.turned - point @ bank.whitening, axis=1)
    if bank.alarm is not None and bank.alarm.widths:
        away /= np.asarray(bank.alarm.widths)
    return _clamped(away)


def euclidean(embedding: Float32Array, bank: CentroidBank) -> Float64Array:
    """Return |e - c| of each centroid, (K,)."""
    point = _checked(embedding, bank)
    if bank.index is not None:
        return bank.index.euclidean(point).values()
    away: Float64Array = np.linalg.norm(bank.centroids - point, axis=1)
    return _clamped(away)


def cosine(embedding: Float32Array, bank: CentroidBank) -> Float64Array:
    """Return 1 - cos(e, c) of each centroid, (K,) in [0, 2]; small = near."""
    point = _checked(embedding, bank)
    if bank.index is not None:
        return bank.index.cosine(point).values()
    lengths = np.linalg.norm(bank.centroids, axis=1) * np.linalg.norm(point)
    cosines = bank.centroids @ point / np.maximum(lengths, np.finfo(np.float64).tiny)
    return _clamped(1.0 - cosines)


def mahalanobis(embedding: Float32Array, bank: CentroidBank) -> Float64Array:
    """Return sqrt((e - c)^T P (e - c)) of each centroid, (K,).

    Raises:
        LibraryError: The bank has no precisions.
    """
    if bank.precisions is None:
        raise LibraryError(
            "distance 'mahalanobis' expects covariances in the library's statistics, got none: "
            "generate the statistics with covariances or use 'euclidean'"
        )
    away = bank.centroids - _checked(embedding, bank)
    squared = np.einsum("kd,kde,ke->k", away, bank.precisions, away, optimize=True)
    return _clamped(np.sqrt(np.maximum(squared, 0.0)))


Distance = Callable[[Float32Array, CentroidBank], Float64Array]
DISTANCES: Mapping[str, Distance] = MappingProxyType(
    {"euclidean": euclidean, "cosine": cosine, "mahalanobis": mahalanobis}
)


def look_up(embedding: Float32Array, bank: CentroidBank, *, distance: str) -> Distances:
    """Return what `DISTANCES[distance]` returns, of a large library measured when asked for."""
    index = bank.index
    if index is None or distance not in ("euclidean", "cosine"):
        return DISTANCES[distance](embedding, bank)
    measure = index.euclidean if distance == "euclidean" else index.cosine
    return measure(_checked(embedding, bank))


def look_up_novelties(embedding: Float32Array, bank: CentroidBank) -> Distances | None:
    """Return what `novelties` returns, of a large library measured when asked for."""
    if bank.whitened is None:
        return novelties(embedding, bank)
    return bank.whitened.distances(_checked(embedding, bank))


def _clamped(distances: Float64Array) -> Float64Array:
    clamped: Float64Array = np.maximum(distances, MIN_DISTANCE)
    return clamped


def _checked(embedding: Float32Array, bank: CentroidBank) -> Float64Array:
    if embedding.shape != bank.centroids.shape[1:]:
        raise LibraryError(
            f"expected an embedding of shape {bank.centroids.shape[1:]}, got {embedding.shape}"
        )
    return embedding.astype(np.float64)


def _regularised_inverse(covariance: Float64Array, ridge: float) -> Float64Array:
    dim = len(covariance)
    mean_variance = float(np.trace(covariance)) / dim
    eps = max(ridge * mean_variance, np.finfo(np.float64).tiny ** 0.25)
    inverse: Float64Array = np.linalg.inv(covariance + eps * np.eye(dim))
    symmetric: Float64Array = (inverse + inverse.T) / 2.0
    return symmetric
