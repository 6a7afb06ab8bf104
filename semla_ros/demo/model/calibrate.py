"""Choose temperature, top_k, null distance and support thresholds on validation scenes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from semla_ros.bundle import AdaptationDefaults
from semla_ros.core.types import Float64Array
from semla_ros.demo.model.experiment import score
from semla_ros.demo.model.scenes import DomainScenes
from semla_ros.demo.model.words import text_temperature
from semla_ros.library.retrieval import RetrievalSettings, retrieve
from semla_ros.navigator.support import support_score
from semla_ros.prepare.training.runner import Runner

logger = logging.getLogger(__name__)

SHARPNESS = (0.15, 0.3, 0.5, 0.8, 1.3)
"""Temperatures to try, in units of the spread of 1/d across adapters."""
TOP_K = (3, 5)
NULL_QUANTILES = (0.5, 0.9)
"""Null distances to try: quantiles of the distance to the nearest foreign adapter."""
SUPPORT_QUANTILE = 0.05
SCORED_EVERY = 3
"""Only every so many validation scenes are segmented; all of them are embedded."""


def calibrate(runner: Runner, scenes: Sequence[DomainScenes]) -> AdaptationDefaults:
    """Return the settings that serve unseen domains best, and the support thresholds.

    Temperature, top_k and null distance maximise the h-mean with the target's own adapter left
    out; LOW comes from frames of known domains, OUT_OF_LIBRARY is the library's own.
    """
    embeddings = {d.domain: [runner.embed(rgb) for rgb in d.images.rgb] for d in scenes}
    distances = {
        domain: np.stack([runner.distances(e) for e in each])
        for domain, each in embeddings.items()
    }
    best = _best_settings(runner, scenes, distances)
    supports = [
        support_score(
            retrieve(runner.library.names, row, settings=best), runner.library.names, row
        )
        for rows in distances.values()
        for row in rows
    ]
    found = AdaptationDefaults(
        temperature=best.temperature,
        top_k=best.top_k,
        distance="euclidean",
        similarity=best.similarity,
        null_distance=best.null_distance,
        support_low=float(np.quantile(supports, SUPPORT_QUANTILE)),
        out_of_library=0.0,
    )
    if not runner.bundle.navigator_text.is_file():
        return found
    return replace(found, text_temperature=text_temperature(runner, scenes, best))


def _best_settings(
    runner: Runner, scenes: Sequence[DomainScenes], distances: dict[str, Float64Array]
) -> RetrievalSettings:
    spread = float(np.mean([np.std(1 / rows, axis=1).mean() for rows in distances.values()]))
    candidates = [
        RetrievalSettings(sharpness * spread, top_k) for sharpness in SHARPNESS for top_k in TOP_K
    ]
    best = _argmax(runner, scenes, candidates)
    foreign = np.concatenate(
        [
            np.delete(rows, runner.library.names.index(domain), axis=1).min(axis=1)
            for domain, rows in distances.items()
        ]
    )
    with_null = [
        replace(best, null_distance=float(np.quantile(foreign, q))) for q in NULL_QUANTILES
    ]
    return _argmax(runner, scenes, [best, *with_null])


def _argmax(
    runner: Runner, scenes: Sequence[DomainScenes], candidates: Sequence[RetrievalSettings]
) -> RetrievalSettings:
    few = [domain.every(SCORED_EVERY) for domain in scenes]
    scores = []
    for settings in candidates:
        result = score(runner, few, settings, strategies=("semla-loo",), title="calibrate")
        scores.append(result.h_mean("semla-loo"))
        logger.info(
            "temperature %.4g, top_k %d, null %.3g: leave-one-out h-mean %.2f",
            settings.temperature,
            settings.top_k,
            settings.null_distance,
            scores[-1],
        )
    return candidates[int(np.argmax(scores))]
