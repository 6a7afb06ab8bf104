"""Frames and library in the plane, to be looked at."""

from __future__ import annotations

import numpy as np

from semla_ros.errors import EvaluationError
from semla_ros.evaluation.extra import evaluate_extra
from semla_ros.types import Float32Array, Float64Array

MAX_FRAMES = 1500
MIN_POINTS = 5


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
