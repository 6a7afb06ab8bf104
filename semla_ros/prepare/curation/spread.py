"""Statistics of a domain from its embeddings, in two passes over blocks of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from semla_ros.core.errors import LibraryError
from semla_ros.core.novelty import EmbeddingSample
from semla_ros.core.types import Float32Array, Float64Array, Int64Array
from semla_ros.library.statistics import MAX_SAMPLE, DistanceQuantiles, DomainStatistics
from semla_ros.navigator.held_out import shrunk

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
"""Quantile levels of the own-domain distance."""

BLOCKS = 3
"""Stretches of a recording that are held out in turn. Fewer leave little to fit a spread to;
more have neighbours on both sides, and find too little novel. Source: docs/library.md."""

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


def domain_statistics(
    chunks: Chunks, *, encoder: str, sources: Sequence[int] = ()
) -> DomainStatistics:
    """Return centroid, count, covariance, own-domain distances and a sample of the embeddings.

    The centroid is the plain mean of embeddings that are not normalised, as in SemLA. Distances
    are Euclidean and leave-one-out: each image to the mean of the others, which is n / (n - 1)
    times its distance to the centroid. One image has neither covariance nor distances.

    Args:
        chunks: The embeddings; at least one row in all.
        encoder: Identity of the encoder that made them.
        sources: Rows of each recording or folder, in order; empty: all are of one.

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
        sample=sample_of(chunks, count=count, sources=sources),
    )


def sample_of(chunks: Chunks, *, count: int, sources: Sequence[int] = ()) -> EmbeddingSample:
    """Return up to `MAX_SAMPLE` of the embeddings, evenly over their order, in blocks.

    Args:
        chunks: The embeddings.
        count: Their number.
        sources: See `domain_statistics`.
    """
    chosen = np.unique(np.linspace(0, count - 1, min(count, MAX_SAMPLE)).round().astype(np.int64))
    picked, start = [], 0
    for chunk in chunks():
        inside = chosen[(chosen >= start) & (chosen < start + len(chunk))]
        picked.append(chunk[inside - start])
        start += len(chunk)
    return EmbeddingSample(np.concatenate(picked), blocks_of(count, sources)[chosen], count)


def blocks_of(count: int, sources: Sequence[int] = ()) -> Int64Array:
    """Return which block each of `count` images is of, (count,) int64.

    Neighbours in a recording resemble each other: a block is a third of the images in a row, or
    whole recordings, where none of the blocks then holds more than two thirds of the images.

    Args:
        count: Number of images, in order.
        sources: Images of each recording in order, `count` in all; empty: all are of one.
    """
    ends = np.cumsum(sources or (count,))
    middles = ends - np.asarray(sources or (count,)) / 2.0
    whole = np.repeat((middles * BLOCKS / count).astype(np.int64), sources or (count,))
    if np.bincount(whole).max() <= 2 * count / 3:
        return whole
    return np.arange(count, dtype=np.int64) * BLOCKS // count


def shrunk_covariance(chunks: Chunks, mean: Float64Array, *, count: int) -> ShrunkCovariance:
    """Return the covariance of the embeddings, shrunk towards a multiple of the identity.

    The result is scaled by n / (n - 1), so that it has no bias.

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
    covariance, shrinkage = shrunk(sample / count, fourth=fourth, count=count)
    return ShrunkCovariance(covariance * (count / (count - 1)), shrinkage)


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
