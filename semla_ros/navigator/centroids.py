"""The domains' places in the embedding space, and a quick way through thousands of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from semla_ros.errors import LibraryError
from semla_ros.navigator.shadow import Shadow, slack
from semla_ros.novelty import NoveltyAlarm
from semla_ros.types import MIN_DISTANCE, Float32Array, Float64Array, Indices, LazyDistances

MANY = 256
"""More centroids than this are compared by bounds first, and exactly where it matters."""

_REFINED = 64
"""So many are measured in float64 without further ado; where all distances are asked for, the
nearest ones."""

_FEW = 1 / 4
"""Share of the centroids beyond which picking out their rows costs more than a pass over all."""


class CentroidIndex:
    """Norms, a shadow and a float32 copy of many centroids.

    All is relative to the mean of the centroids, so that little cancels in
    |c - e|^2 = |c|^2 - 2 c.e + |e|^2.

    Attributes:
        centroids: (K, D) float64.
        mean: (D,) float64.
        rows: (K, D) float32, centroids less `mean`.
        squares: (K,) float64, their |c|^2.
        lengths: (K,) float64, |c| of the centroids themselves.
        shifts: (K,) float64, products of the centroids with `mean`.
        shadow: Bounds the products with `rows`, None where it would be of no use.
    """

    def __init__(self, centroids: Float64Array) -> None:
        """Take (K, D) centroids."""
        self.centroids = centroids
        self.mean: Float64Array = centroids.mean(axis=0)
        centered = centroids - self.mean
        self.rows: Float32Array = centered.astype(np.float32)
        self.squares: Float64Array = np.einsum("kd,kd->k", centered, centered)
        self.lengths: Float64Array = np.linalg.norm(centroids, axis=1)
        self.shifts: Float64Array = centroids @ self.mean
        self.shadow = Shadow.of(centered)

    def euclidean(self, point: Float64Array) -> IndexedDistances:
        """Return |e - c| (K,) of e = `point` (D,)."""
        return _Euclidean(self, point)

    def cosine(self, point: Float64Array) -> IndexedDistances:
        """Return 1 - cos(e, c) (K,) of e = `point` (D,)."""
        return _Cosine(self, point)


class WhitenedIndex:
    """An index in the units of a precision P = R R^T, where |R^T e| is the length of e."""

    def __init__(self, centroids: Float64Array, whitening: Float64Array) -> None:
        """Take (K, D) whitened centroids and the (D, D) whitening R."""
        self._root = whitening
        self._index = CentroidIndex(centroids)

    def distances(self, point: Float64Array) -> IndexedDistances:
        """Return sqrt((e - c)^T P (e - c)) (K,) of e = `point` (D,)."""
        turned: Float64Array = point @ self._root
        return self._index.euclidean(turned)


class IndexedDistances(LazyDistances):
    """Distances of a point to the centroids of an index.

    Lower bounds rule out most centroids; what is left is measured in float64, as a small library
    is. The first bound costs a few coordinates of each centroid (`Shadow`), the second one a row
    in float32 of each that is left.
    """

    def __init__(self, index: CentroidIndex, point: Float64Array) -> None:
        """Measure nothing yet."""
        self._index = index
        self._point = point
        self._away: Float64Array = point - index.mean
        self._found: dict[tuple[int, ...], tuple[Indices, Float64Array]] = {}

    @abstractmethod
    def _exact(self, chosen: Indices) -> Float64Array:
        """Return the distances to some, without products."""

    @abstractmethod
    def _given(
        self, products: Float64Array, chosen: Indices | slice = slice(None)
    ) -> Float64Array:
        """Return distances, from the products of `rows` with the point; less for larger."""

    def __len__(self) -> int:
        return len(self._index.centroids)

    def __getitem__(self, index: int, /) -> float:
        return max(float(self._exact(np.array([index]))[0]), MIN_DISTANCE)

    def values(self) -> Float64Array:
        """Return all, (K,): the nearest exact, the others to float32."""
        distances = self._given(self._products)
        near = np.argpartition(distances, _REFINED)[:_REFINED]
        distances[near] = self._exact(near)
        clamped: Float64Array = np.maximum(distances, MIN_DISTANCE)
        return clamped

    def nearest(self, count: int, *, skip: Sequence[int] = ()) -> tuple[Indices, Float64Array]:
        """Return indices and distances of the `count` nearest, in the library's order.

        What was found is kept: every frame asks again until the next observation.
        """
        asked = (count, *skip)
        if asked not in self._found:
            self._found[asked] = self._nearest(count, list(skip))
        return self._found[asked]

    def _nearest(self, count: int, skip: Sequence[int]) -> tuple[Indices, Float64Array]:
        allowed = np.ones(len(self), np.bool_)
        allowed[skip] = False
        chosen = np.flatnonzero(allowed)
        if self._index.shadow is not None:
            chosen = self._survivors(chosen, self._by_shadow, count)
        if len(chosen) > _REFINED:
            chosen = self._survivors(chosen, self._by_rows, count)
        values = np.maximum(self._exact(chosen), MIN_DISTANCE)
        kept = np.sort(np.argsort(values, kind="stable")[:count])
        return chosen[kept], values[kept]

    def _survivors(
        self, chosen: Indices, bound: Callable[[Indices], Float64Array], count: int
    ) -> Indices:
        """Return who may be among the `count` nearest: as many are nearer than the others."""
        if 2 * count >= len(chosen):
            return chosen
        lower = bound(chosen)
        first = chosen[np.argpartition(lower, 2 * count)[: 2 * count]]
        farthest = np.partition(self._exact(first), count - 1)[count - 1]
        kept: Indices = chosen[~(lower > farthest * (1.0 + 1e-9) + MIN_DISTANCE)]
        return kept

    def _by_shadow(self, chosen: Indices) -> Float64Array:
        return self._shadowed[chosen]

    def _by_rows(self, chosen: Indices) -> Float64Array:
        if len(chosen) > len(self) * _FEW:
            products = self._products[chosen]
        else:
            products = (self._index.rows[chosen] @ self._away.astype(np.float32)).astype(
                np.float64
            )
        reach = slack(len(self._away)) * float(np.linalg.norm(self._away))
        return self._given(products + reach * np.sqrt(self._index.squares[chosen]), chosen)

    @cached_property
    def _shadowed(self) -> Float64Array:
        shadow = self._index.shadow
        return self._given(self._products if shadow is None else shadow.at_most(self._away))

    @cached_property
    def _products(self) -> Float64Array:
        products: Float32Array = self._index.rows @ self._away.astype(np.float32)
        return products.astype(np.float64)


class _Euclidean(IndexedDistances):
    def _exact(self, chosen: Indices) -> Float64Array:
        apart = self._index.centroids[chosen] - self._point
        distances: Float64Array = np.sqrt(np.einsum("kd,kd->k", apart, apart))
        return distances

    def _given(
        self, products: Float64Array, chosen: Indices | slice = slice(None)
    ) -> Float64Array:
        squared = self._index.squares[chosen] - 2.0 * products + self._away @ self._away
        distances: Float64Array = np.sqrt(np.maximum(squared, 0.0))
        return distances


class _Cosine(IndexedDistances):
    @cached_property
    def _lengths(self) -> Float64Array:
        lengths = self._index.lengths * np.linalg.norm(self._point)
        return np.asarray(np.maximum(lengths, np.finfo(np.float64).tiny))

    def _exact(self, chosen: Indices) -> Float64Array:
        products = np.einsum("kd,d->k", self._index.centroids[chosen], self._point)
        distances: Float64Array = 1.0 - products / self._lengths[chosen]
        return distances

    def _given(
        self, products: Float64Array, chosen: Indices | slice = slice(None)
    ) -> Float64Array:
        whole = products + self._index.shifts[chosen] + self._index.mean @ self._away
        distances: Float64Array = 1.0 - whole / self._lengths[chosen]
        return distances


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
        index: The quick way, of more than `MANY` centroids.
        turned: (K, D) float64, the centroids times `whitening`, or None.
        whitened: The quick way in units of the spread within domains, or None.
    """

    names: tuple[str, ...]
    centroids: Float64Array
    precisions: Float64Array | None = None
    whitening: Float64Array | None = None
    alarm: NoveltyAlarm | None = None
    index: CentroidIndex | None = field(init=False, default=None)
    turned: Float64Array | None = field(init=False, default=None)
    whitened: WhitenedIndex | None = field(init=False, default=None)

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
        if shape[0] <= MANY:
            return
        object.__setattr__(self, "index", CentroidIndex(self.centroids))
        if self.whitening is not None and self.turned is not None:
            object.__setattr__(self, "whitened", WhitenedIndex(self.turned, self.whitening))
