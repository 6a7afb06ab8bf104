"""Frames and library in the plane, to be looked at."""

from __future__ import annotations

import numpy as np

from semla_ros.core.errors import EvaluationError
from semla_ros.core.types import Float32Array, Float64Array
from semla_ros.evaluation.extra import evaluate_extra
from semla_ros.evaluation.report.plots import Projection
from semla_ros.evaluation.study.study import Study
from semla_ros.navigator.distance import CentroidBank

MAX_FRAMES = 1500
MIN_POINTS = 5


def library_map(study: Study, bank: CentroidBank | None) -> Projection | None:
    """Return frames and centroids in the plane; None without enough embeddings.

    Args:
        study: With embeddings.
        bank: The library; without it the map shows frames alone.

    Raises:
        MissingExtraError: scikit-learn is missing.
    """
    kept = [r for r in study.recordings if r.frames and r.embeddings.shape[1]]
    if not kept:
        return None
    embeddings = np.concatenate([r.embeddings for r in kept])
    domains = [d for r in kept for d in r.places.tolist()]
    chosen = sample_of(len(embeddings))
    centroids = np.zeros((0, embeddings.shape[1])) if bank is None else bank.centroids
    points = np.concatenate([embeddings[chosen].astype(np.float64), centroids])
    if len(points) < MIN_POINTS or centroids.shape[1] != embeddings.shape[1]:
        return None
    plane = tsne(points)
    return Projection(
        frames=plane[: len(chosen)],
        domains=tuple(domains[i] for i in chosen),
        centroids=plane[len(chosen) :],
        names=() if bank is None else bank.names,
    )


def sample_of(
    count: int, most: int = MAX_FRAMES
) -> np.ndarray[tuple[int, ...], np.dtype[np.intp]]:
    """Return at most `most` evenly spaced places of 0..count - 1."""
    places = np.linspace(0, count - 1, min(count, most)).round().astype(np.intp)
    return np.unique(places)


def tsne(points: Float32Array | Float64Array, *, seed: int = 0) -> Float64Array:
    """Return the t-SNE of (P, D) points, (P, 2); the same points give the same picture.

    Raises:
        EvaluationError: Fewer than five points, or one not finite.
        MissingExtraError: scikit-learn is missing.
    """
    if len(points) < MIN_POINTS or not np.isfinite(points).all():
        raise EvaluationError(
            f"expected at least {MIN_POINTS} finite points, got {np.shape(points)}"
        )
    manifold = evaluate_extra("sklearn.manifold").TSNE(
        n_components=2,
        perplexity=min(30.0, (len(points) - 1) / 3),
        init="pca",
        learning_rate="auto",
        random_state=seed,
        n_jobs=1,
    )
    plane: Float64Array = np.asarray(manifold.fit_transform(np.asarray(points, np.float64)))
    return plane
