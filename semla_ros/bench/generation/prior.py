"""SG-LoRA's semantic prior: what experts near in words say of an unseen task's parameters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semla_ros.core.errors import LibraryError
from semla_ros.core.types import Float64Array


@dataclass(frozen=True, slots=True)
class Prior:
    """A Gaussian over parameters with a diagonal covariance: `mean` and `variance`, (P,) each."""

    mean: Float64Array
    variance: Float64Array


def aggregation_weights(
    target: Float64Array, descriptions: Float64Array, *, top_k: int, temperature: float
) -> Float64Array:
    """Return the weight of each expert, (E,): a softmax over the nearest `top_k`, else 0.

    Args:
        target: (D,) description of the task; lengths do not matter.
        descriptions: (E, D) of the experts.
        top_k: At most so many take part; ties go to the earlier one.
        temperature: Of the softmax over cosines, > 0.

    Raises:
        LibraryError: No experts, or none may take part.

    Source: SG-LoRA (CVPR 2026), Eq. 6.
    """
    if top_k < 1 or not len(descriptions):
        raise LibraryError(f"expected experts, got top_k {top_k} of {len(descriptions)}")
    lengths = np.linalg.norm(descriptions, axis=1) * np.linalg.norm(target)
    cosines = descriptions @ target / np.maximum(lengths, np.finfo(np.float64).tiny)
    nearest = np.argsort(-cosines, kind="stable")[:top_k]
    shares = np.exp((cosines[nearest] - cosines[nearest[0]]) / temperature)
    weights: Float64Array = np.zeros(len(descriptions))
    weights[nearest] = shares / shares.sum()
    return weights


def semantic_prior(weights: Float64Array, means: Float64Array, variances: Float64Array) -> Prior:
    """Return mean and variance of a mixture of experts.

    mean = sum_k w_k mean_k; variance = sum_k w_k variance_k + sum_k w_k (mean_k - mean)^2, the
    law of total variance.

    Args:
        weights: (E,), >= 0, of sum 1.
        means: (E, P) over each expert's snapshots.
        variances: (E, P), likewise.

    Source: SG-LoRA, Eq. 13 and 14.
    """
    mean = weights @ means
    between = weights @ np.square(means - mean)
    return Prior(mean, weights @ variances + between)
