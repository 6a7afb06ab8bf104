"""Which points the map of library and frames shows."""

from __future__ import annotations

import numpy as np

from semla_ros.evaluation.analysis.projection import MIN_POINTS, sample_of, tsne
from semla_ros.evaluation.report.plots import Projection
from semla_ros.evaluation.study.record import Study
from semla_ros.navigator.distance import CentroidBank


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
    domains = [d or r.name for r in kept for d in r.domains]
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
