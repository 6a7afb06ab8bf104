"""The spread within domains from samples of their images, and what novelty new images have."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Sequence
from statistics import NormalDist

import numpy as np

from semla_ros.core.novelty import EmbeddingSample, NoveltyAlarm
from semla_ros.core.types import Float64Array

FALSE_ALARMS = 0.01
"""Share of new images of known domains that may raise the alarm."""

MIN_IMAGES = 50
"""A domain with fewer images has no threshold that holds. Source: docs/library.md, measured."""

_CONFIDENCE = 0.95
"""How sure the threshold is to lie above the quantile, as far as tails are log-normal."""

_HALVINGS = 50
_OWN_SHARE = 0.5
_RIDGE = 1e-3
"""Share of the mean variance that every direction has: some features never move."""


def shrunk(
    sample: Float64Array, *, fourth: float, count: int, share: float | None = None
) -> tuple[Float64Array, float]:
    """Return the covariance shrunk towards a multiple of the identity, and the share of that.

    With S the mean of x x^T, mu = tr(S) / D and Frobenius norms: delta2 = |S - mu I|^2,
    beta2 = min(delta2, (sum |x|^4 / n - |S|^2) / n), and the shrinkage is beta2 / delta2. Many
    images, or few directions, give almost none; few images almost all.

    Args:
        sample: (D, D) S; overwritten.
        fourth: sum |x|^4.
        count: n.
        share: Shrink by as much instead.

    Source: Ledoit and Wolf, 2004, "A well-conditioned estimator for large-dimensional covariance
        matrices".
    """
    dim = len(sample)
    level = float(np.trace(sample)) / dim
    if share is None:
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
    return whitening(_tied(rows)[0])


def _tied(rows: Sequence[Float64Array], share: float | None = None) -> tuple[Float64Array, float]:
    """Return the spread within domains (D, D), and its shrinkage."""
    centred = np.concatenate([each - each.mean(axis=0) for each in rows])
    count = len(centred)
    fourth = float((np.einsum("rd,rd->r", centred, centred) ** 2).sum())
    sample = centred.T @ centred / count
    covariance, share = shrunk(sample, fourth=fourth, count=count, share=share)
    return covariance * (count / (count - len(rows))), share


def held_out_distances(samples: Sequence[EmbeddingSample]) -> tuple[Float64Array, ...]:
    """Return how far each image would be from the domains if its drive were new, (n_k, K) each.

    Images of one drive are neighbours. So whole blocks are left out, of all domains at once, and
    centroids and spread are made without them; it is shrunk as with them, for a spread of fewer
    images that shrinks by more can find less novel. Images of a domain that has no other block
    are left out; a domain that has none is infinitely far.

    Args:
        samples: Of each of K domains, of the same length D.
    """
    rows = [each.embeddings.astype(np.float64) for each in samples]
    found: list[list[Float64Array]] = [[np.zeros((0, len(rows)))] for _ in samples]
    share = _tied(rows)[1]
    for block in np.unique(np.concatenate([each.blocks for each in samples])):
        kept = [r[s.blocks != block] for r, s in zip(rows, samples, strict=True)]
        known = [each for each in kept if len(each)]
        if sum(map(len, known)) <= len(known):
            continue
        turn = whitening(_tied(known, share)[0])
        places = [each.mean(axis=0) @ turn if len(each) else None for each in kept]
        for domain, (row, sample) in enumerate(zip(rows, samples, strict=True)):
            if len(kept[domain]):
                away = row[sample.blocks == block] @ turn
                found[domain].append(_distances(away, places))
    return tuple(np.concatenate(each) for each in found)


def domain_widths(distances: Sequence[Float64Array]) -> Float64Array:
    """Return what distances to each domain should be divided by, (K,), geometric mean 1.

    Half way, in the logarithm, from one spread for all to each domain's own: the widest domain
    alone would else set the threshold, and what is new near a narrow one pass unseen; and a wide
    one would swallow its neighbours if it counted in full. Source: docs/library.md, measured.

    Args:
        distances: See `held_out_distances`.
    """
    own = np.array(
        [
            float(np.sqrt(np.square(each[:, k]).mean())) if len(each) else 1.0
            for k, each in enumerate(distances)
        ]
    )
    logs = np.log(np.maximum(own, np.finfo(np.float64).tiny))
    widths: Float64Array = np.exp(_OWN_SHARE * (logs - logs.mean()))
    return widths


def alarm_threshold(
    novelties: Sequence[Float64Array], *, false_alarms: float = FALSE_ALARMS
) -> float:
    """Return the novelty that a share of new images pass, at most and with room for chance.

    The larger of two: the order statistic (the largest, where there are too few images for it),
    and that quantile of log-normal distributions, one a domain and equally wide, which few images
    tell better.

    Args:
        novelties: Held-out, (n_k,) of each domain; more in all than domains.
        false_alarms: In (0, 0.5).

    Source: Vovk et al., 2005, "Algorithmic learning in a random world", for the first; for the
        second the large-sample tolerance factor of a normal distribution.
    """
    together = np.sort(np.concatenate(novelties))
    rank = math.ceil((len(together) + 1) * (1.0 - false_alarms))
    largest = float(together[min(rank, len(together)) - 1])
    return max(largest, _tail(novelties, false_alarms))


def _tail(novelties: Sequence[Float64Array], false_alarms: float) -> float:
    """Return the quantile of a mixture of log-normal distributions, an upper bound of it."""
    logs = [np.log(np.maximum(each, np.finfo(np.float64).tiny)) for each in novelties if len(each)]
    count = sum(map(len, logs))
    means = np.array([each.mean() for each in logs])
    squares = sum(float(np.square(each - each.mean()).sum()) for each in logs)
    normal = NormalDist()
    z, sure = normal.inv_cdf(1.0 - false_alarms), normal.inv_cdf(_CONFIDENCE)
    wider = 1.0 + sure * math.sqrt((1.0 + z * z / 2.0) / count) / z
    width = max(math.sqrt(squares / (count - len(logs))) * wider, np.finfo(np.float64).tiny)
    low, high = float(means.min()), float(means.max()) + 2.0 * z * width
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        beyond = [1.0 - normal.cdf((middle - mean) / width) for mean in means.tolist()]
        passing = sum(len(x) * share for x, share in zip(logs, beyond, strict=True)) / count
        low, high = (middle, high) if passing > false_alarms else (low, middle)
    return math.exp(high)


def library_alarm(
    names: Sequence[str],
    samples: Sequence[EmbeddingSample | None],
    *,
    unseen: Collection[str] = (),
    min_images: int = MIN_IMAGES,
) -> NoveltyAlarm | None:
    """Return from which novelty on a library raises the alarm, or why it never does.

    None where no domain holds a sample: the library then has no say. To a library without domains
    everything is unknown.

    Args:
        names: The domains.
        samples: Of each, None where unknown.
        unseen: Domains that no image is expected of; they make nothing known.
        min_images: A domain with fewer is reason for none.
    """
    seen = [i for i, name in enumerate(names) if name not in unseen]
    held = [each for i in seen if (each := samples[i]) is not None]
    if not seen:  # nothing is near anything
        return NoveltyAlarm(sys.float_info.max, "", (0.0,) * len(names))
    if not held:
        return None
    dim = held[0].embeddings.shape[1]
    for i in seen:
        sample = samples[i]
        images = 0 if sample is None else sample.images
        if sample is None or images < min_images:
            return NoveltyAlarm(
                0.0,
                f"no alarm: {images} images of domain {names[i]!r} for {dim} dimensions, needs "
                f"{min_images}; run `semla library embed` with more",
            )
    distances = held_out_distances(held)
    widths = domain_widths(distances)
    novelties = [(each / widths).min(axis=1) for each in distances]
    every = np.zeros(len(names))
    every[seen] = widths
    return NoveltyAlarm(alarm_threshold(novelties), "", tuple(every.tolist()))


def _distances(rows: Float64Array, places: Sequence[Float64Array | None]) -> Float64Array:
    """Return the distance (n, K) of each row (n, D) to each place (D,)."""
    found = np.full((len(rows), len(places)), math.inf)
    for column, place in zip(found.T, places, strict=True):
        if place is not None:
            column[:] = np.linalg.norm(rows - place, axis=1)
    return found
