"""Distances of an embedding to the library's centroids: small = near."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from semla_ros.core.errors import ConfigError, LibraryError
from semla_ros.core.novelty import NoveltyAlarm
from semla_ros.core.types import MIN_DISTANCE, Float32Array, Float64Array
from semla_ros.navigator.held_out import whitening

MIN_COVARIANCE_SAMPLES = 500
"""Fewer images give no covariance worth inverting. Source: SemLA, supplement (Mahalanobis)."""

_PIECE = 64


@dataclass(frozen=True, slots=True)
class CentroidBank:
    """The domains' places in the embedding space.

    Attributes:
        names: The adapters, in the library's order.
        centroids: (K, D) float64.
        precisions: (K, D, D) float64, inverse regularised covariances for `mahalanobis`, or None.
        whitening: (D, D) float64, for `novelties`: R with R R^T the inverse of the spread within
            domains, one for all of them, or None.
        alarm: From which novelty on the library raises the alarm; None where it has no say.
        turned: (K, D) float64, the centroids times `whitening`, or None.
    """

    names: tuple[str, ...]
    centroids: Float64Array
    precisions: Float64Array | None = None
    whitening: Float64Array | None = None
    alarm: NoveltyAlarm | None = None
    turned: Float64Array | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        shape = self.centroids.shape
        if len(shape) != 2 or shape[0] != len(self.names):
            raise LibraryError(f"expected {len(self.names)} centroids (K, D), got {shape}")
        if self.precisions is not None and self.precisions.shape != (*shape, shape[1]):
            raise LibraryError(
                f"expected precisions {(*shape, shape[1])}, got {self.precisions.shape}"
            )
        if self.whitening is not None:
            object.__setattr__(self, "turned", self.centroids @ self.whitening)


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
    widths = np.asarray(bank.alarm.widths if bank.alarm is not None else ())
    if len(widths) and not widths.any():
        return np.full(len(widths), np.inf)
    if bank.whitening is None or bank.turned is None:
        return None
    point = _checked(embedding, bank)
    away = _clamped(_lengths(bank.turned, point @ bank.whitening))
    if len(widths):
        with np.errstate(divide="ignore"):  # width 0: infinitely far
            away /= widths
    return away


def euclidean(embedding: Float32Array, bank: CentroidBank) -> Float64Array:
    """Return |e - c| of each centroid, (K,)."""
    point = _checked(embedding, bank)
    return _clamped(_lengths(bank.centroids, point))


def cosine(embedding: Float32Array, bank: CentroidBank) -> Float64Array:
    """Return 1 - cos(e, c) of each centroid, (K,) in [0, 2]; small = near."""
    point = _checked(embedding, bank)
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


def _lengths(places: Float64Array, point: Float64Array) -> Float64Array:
    """Return |c - e| of each row c of `places`, (K,); in pieces that stay in the core's cache."""
    found: Float64Array = np.empty(len(places))
    for start in range(0, len(places), _PIECE):
        away = places[start : start + _PIECE] - point
        found[start : start + _PIECE] = np.einsum("kd,kd->k", away, away)
    return np.sqrt(found, out=found)


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
