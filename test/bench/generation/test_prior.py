"""Eq. 6, 13 and 14 of SG-LoRA, the last against sampling."""

import numpy as np
import pytest

from semla_ros.bench.generation.prior import aggregation_weights, semantic_prior
from semla_ros.core.errors import LibraryError


def test_mean_and_variance_are_those_of_the_mixture():
    rng = np.random.default_rng(0)
    weights = np.array([0.5, 0.3, 0.2])
    means, variances = rng.normal(size=(3, 4)), rng.uniform(0.1, 2.0, (3, 4))
    prior = semantic_prior(weights, means, variances)
    drawn = rng.choice(3, 400_000, p=weights)
    samples = means[drawn] + np.sqrt(variances[drawn]) * rng.normal(size=(len(drawn), 4))
    np.testing.assert_allclose(prior.mean, samples.mean(axis=0), atol=0.01)
    np.testing.assert_allclose(prior.variance, samples.var(axis=0), rtol=0.02)


def test_one_expert_alone_is_itself():
    means, variances = np.ones((2, 3)), np.full((2, 3), 0.5)
    means[1] = 7.0
    prior = semantic_prior(np.array([1.0, 0.0]), means, variances)
    np.testing.assert_array_equal(prior.mean, means[0])
    np.testing.assert_array_equal(prior.variance, variances[0])


def test_the_nearest_take_part_by_a_softmax_over_cosines():
    angles = np.deg2rad([0.0, 30.0, 60.0, 90.0])
    experts = np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.array([[1], [9], [1], [1]])
    weights = aggregation_weights(np.array([2.0, 0.0]), experts, top_k=2, temperature=0.1)
    expected = np.exp(np.cos(angles[:2]) / 0.1)
    np.testing.assert_allclose(weights, [*(expected / expected.sum()), 0, 0], rtol=1e-12)


def test_without_experts_there_is_no_weight():
    with pytest.raises(LibraryError, match="expected experts"):
        aggregation_weights(np.ones(2), np.ones((3, 2)), top_k=0, temperature=0.1)
