"""The spread within domains from samples of their images, and what novelty new images have."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from semla_ros.novelty import EmbeddingSample, NoveltyAlarm
from semla_ros.types import Float64Array

FALSE_ALARMS = 0.01
"""Share of new images of known domains that may raise the alarm."""

MIN_IMAGES = 50
"""A domain with fewer images has no threshold that holds. Source: docs/library.md, measured."""

_CONFIDENCE = 0.95
"""How sure the threshold is to lie above the quantile, as far as the tail is log-normal."""

_RIDGE = 1e-3
"""Share of the mean variance that every direction has: some features never move."""


def shrunk(
    sample: Float64Array, *, fourth: float, count: int
) -> tuple[Float64Array, float]:
    """Return the covariance shrunk towards a multiple of the identity, and the share of that.

    With S the mean of x x^T, mu = tr(S) / D and Frobenius norms: delta2 = |S - mu I|^2,
    beta2 = min(delta2, (sum |x|^4 / n - |S|^2) / n), and the shrinkage is beta2 / delta2. Many
    images, or few directions, give almost none; few images almost all.

    Args:
        sample: (D, D) S; overwritten.
        fourth: sum |x|^4.
        count: n.

    Source: Ledoit and Wolf, 2004, "A well-conditioned estimator for large-dimensional covariance
        matrices".
    """
    dim = len(sample)
    level = float(np.trace(sample)) / dim
    square = float(np.vdot(sample, sample))
    delta2 = square - dim * level**2
    beta2 = (fourth / count - square) / count
    share = min(1.0, max(0.0, beta2 / delta2)) if delta2 > 0 else 1.0
    sample *= 1.0 - share
    sample[np.diag_indices(dim)] += share * level
    return sample, share


def whitening(covariance: Float64Array) -> Float64Array:
    """Return W (D, D) with W W^T the inverse of the covariance: |x W| is novelty.

    Args:
        covariance: (D, D), symmetric and not negative; a ridge keeps it regular.
    """
    dim = len(covariance)
    floor = max(_RIDGE * float(np.trace(covariance)) / dim, np.finfo(np.float64).tiny ** 0.25)
    factor = np.linalg.cholesky(covariance + floor * np.eye(dim))
    return np.ascontiguousarray(np.linalg.inv(factor).T, dtype=np.float64)


def tied_whitening(rows: Sequence[Float64Array]) -> Float64Array:
    """Return `whitening` of the spread within domains, one for all of them.

    Args:
        rows: (n_k, D) embeddings of each domain; more rows in all than domains.

    Source: Lee et al., 2018, "A simple unified framework for detecting out-of-distribution
        samples": class-conditional Gaussians with one covariance.
    """
    centred = np.concatenate([each - each.mean(axis=0) for each in rows])
    count = len(centred)
    fourth = float((np.einsum("nd,nd->n", centred, centred) ** 2).sum())
    covariance, _ = shrunk(centred.T @ centred / count, fourth=fourth, count=count)
    return whitening(covariance * (count / (count - len(rows))))


def held_out_novelties(samples: Sequence[EmbeddingSample]) -> tuple[Float64Array, ...]:
    """Return the novelty that each image would have if its drive were new, (n_k,) a domain.

    Images of one drive are neighbours. So whole blocks are left out, of all domains at once, and
    centroids and spread are made without them. Images that have no such novelty, because their
    domain has no other block, are left out.

    Args:
        samples: Of each domain, of the same length D.
    """
    rows = [each.embeddings.astype(np.float64) for each in samples]
    found: list[list[Float64Array]] = [[] for _ in samples]
    for block in np.unique(np.concatenate([each.blocks for each in samples])):
        kept = [r[s.blocks != block] for r, s in zip(rows, samples, strict=True)]
        known = [each for each in kept if len(each)]
        if sum(map(len, known)) <= len(known):
            continue
        turn = tied_whitening(known)
        places = np.stack([each.mean(axis=0) for each in known]) @ turn
        for domain, (row, sample) in enumerate(zip(rows, samples, strict=True)):
            if len(kept[domain]):
                away = row[sample.blocks == block] @ turn
                found[domain].append(_nearest(away, places))
    return tuple(np.concatenate(each) if each else np.zeros(0) for each in found)


def alarm_threshold(novelties: Float64Array, *, false_alarms: float = FALSE_ALARMS) -> float:
    """Return the novelty that a share of new images pass, at most and with room for chance.

    The larger of two: the order statistic (the largest, where there are too few images for it),
    and the upper confidence bound of that quantile of a log-normal distribution, which few images
    tell better.

    Args:
        novelties: (n,) held-out, n >= 2.
        false_alarms: In (0, 1).

    Source: Vovk et al., 2005, "Algorithmic learning in a random world", for the first; for the
        second the large-sample tolerance factor of a normal distribution.
    """
    count = len(novelties)
    logs = np.log(np.maximum(novelties, np.finfo(np.float64).tiny))
    z = NormalDist().inv_cdf(1.0 - false_alarms)
    reach = z + NormalDist().inv_cdf(_CONFIDENCE) * math.sqrt((1.0 + z * z / 2.0) / count)
    tail = math.exp(float(logs.mean()) + reach * float(logs.std(ddof=1)))
    rank = min(math.ceil((count + 1) * (1.0 - false_alarms)), count)
    return max(tail, float(np.sort(novelties)[rank - 1]))


def library_alarm(
    names: Sequence[str], samples: Sequence[EmbeddingSample | None]
) -> NoveltyAlarm | None:
    """Return from which novelty on a library raises the alarm, or why it never does.

    None where no domain holds a sample: the library then has no say. To a library without domains
    everything is unknown.

    Args:
        names: The domains.
        samples: Of each, None where unknown.
    """
    held = [each for each in samples if each is not None]
    if not names:
        return NoveltyAlarm(sys.float_info.max, "")
    if not held:
        return None
    dim = held[0].embeddings.shape[1]
    for name, sample in zip(names, samples, strict=True):
        images = 0 if sample is None else sample.images
        if sample is None or images < MIN_IMAGES:
            return NoveltyAlarm(
                0.0,
                f"no alarm: {images} images of domain {name!r} for {dim} dimensions, needs "
                f"{MIN_IMAGES}; run `semla library embed` with more",
            )
    novelties = np.concatenate(held_out_novelties(held))
    return NoveltyAlarm(alarm_threshold(novelties), "")


def _nearest(rows: Float64Array, places: Float64Array) -> Float64Array:
    """Return the distance (n,) of each row (n, D) to the nearest place (K, D)."""
    squares = np.full(len(rows), math.inf)
    for place in places:
        away = rows - place
        np.minimum(squares, np.einsum("nd,nd->n", away, away), out=squares)
    distances: Float64Array = np.sqrt(squares)
    return distances
