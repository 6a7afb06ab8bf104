"""The domains' places in the embedding space, and a quick way through thousands of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from semla_ros.errors import LibraryError
from semla_ros.types import Float32Array, Float64Array

MANY = 256
"""More centroids than this are compared by one matrix-vector product in float32."""

_REFINED = 64
"""So many of the nearest are then measured again in float64, as a small library is."""


class CentroidIndex:
    """Norms and a float32 copy of many centroids: a distance costs one pass over the copy.

    |c - e|^2 = |c|^2 - 2 c.e + |e|^2, all relative to the mean of the centroids, so that little
    cancels. The nearest ones, which decide the mix, are measured again without that detour.
    """

    def __init__(self, centroids: Float64Array, tied_precision: Float64Array | None) -> None:
        """Take (K, D) centroids and, for `novelties`, the (D, D) precision of all domains."""
        self._exact = centroids
        self._mean: Float64Array = centroids.mean(axis=0)
        centered = centroids - self._mean
        self._rows: Float32Array = centered.astype(np.float32)
        self._squares: Float64Array = np.einsum("kd,kd->k", centered, centered)
        self._lengths: Float64Array = np.linalg.norm(centroids, axis=1)
        self._precision = tied_precision
        self._spreads: Float64Array | None = None
        if tied_precision is not None:
            self._spreads = np.einsum("kd,kd->k", centered @ tied_precision, centered)

    def euclidean(self, point: Float64Array) -> Float64Array:
        """Return |e - c| (K,) of e = `point` (D,)."""
        away = point - self._mean
        squared = self._squares - 2.0 * self._dots(away) + away @ away
        near = _nearest(squared)
        exact = self._exact[near] - point
        squared[near] = np.einsum("kd,kd->k", exact, exact)
        distances: Float64Array = np.sqrt(np.maximum(squared, 0.0))
        return distances

    def cosine(self, point: Float64Array) -> Float64Array:
        """Return 1 - cos(e, c) (K,) of e = `point` (D,)."""
        tiny = np.finfo(np.float64).tiny
        length = np.linalg.norm(point)
        products = self._dots(point) + self._mean @ point
        distances: Float64Array = 1.0 - products / np.maximum(self._lengths * length, tiny)
        near = _nearest(distances)
        exact = self._exact[near] @ point / np.maximum(self._lengths[near] * length, tiny)
        distances[near] = 1.0 - exact
        return distances

    def novelties(self, point: Float64Array) -> Float64Array:
        """Return sqrt((e - c)^T P (e - c)) (K,) of e = `point` (D,).

        Raises:
            LibraryError: Made without a precision.
        """
        if self._precision is None or self._spreads is None:
            raise LibraryError("expected an index with the spread within domains, got none")
        away = point - self._mean
        turned = self._precision @ away
        squared = self._spreads - 2.0 * self._dots(turned) + away @ turned
        near = _nearest(squared)
        exact = self._exact[near] - point
        squared[near] = np.einsum("kd,kd->k", exact @ self._precision, exact)
        distances: Float64Array = np.sqrt(np.maximum(squared, 0.0))
        return distances

    def _dots(self, point: Float64Array) -> Float64Array:
        dots: Float64Array = (self._rows @ point.astype(np.float32)).astype(np.float64)
        return dots


def _nearest(values: Float64Array) -> np.ndarray[tuple[int, ...], np.dtype[np.intp]]:
    return np.argpartition(values, _REFINED)[:_REFINED]


@dataclass(frozen=True, slots=True)
class CentroidBank:
    """The domains' places in the embedding space.

    Attributes:
        names: The adapters, in the library's order.
        centroids: (K, D) float64.
        precisions: (K, D, D) float64, inverse regularised covariances for `mahalanobis`, or None.
        tied_precision: (D, D) float64, one for all domains, for `novelties`, or None.
        index: The quick way, of more than `MANY` centroids.
    """

    names: tuple[str, ...]
    centroids: Float64Array
    precisions: Float64Array | None = None
    tied_precision: Float64Array | None = None
    index: CentroidIndex | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        shape = self.centroids.shape
        if len(shape) != 2 or shape[0] != len(self.names):
            raise LibraryError(f"expected {len(self.names)} centroids (K, D), got {shape}")
        if self.precisions is not None and self.precisions.shape != (*shape, shape[1]):
            raise LibraryError(
                f"expected precisions {(*shape, shape[1])}, got {self.precisions.shape}"
            )
        if shape[0] > MANY:
            object.__setattr__(self, "index", CentroidIndex(self.centroids, self.tied_precision))
