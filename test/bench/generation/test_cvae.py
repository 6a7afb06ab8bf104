"""The CVAE: samples follow their condition, one seed gives the same bits."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch: scripts/setup --dev")

import torch

from semla_ros.bench.generation.cvae import CvaeOptions, train_cvae
from semla_ros.bench.generation.prior import Prior

OPTIONS = CvaeOptions(latent=4, width=32, steps=300, batch=32, seed=3)
SIZE = 12


@pytest.fixture(scope="module")
def world():
    """Two kinds of vectors, told apart by their prior."""
    rng = np.random.default_rng(0)
    priors = [Prior(np.full(SIZE, at), np.full(SIZE, 0.01)) for at in (-1.0, 2.0)]
    rows = [p.mean + 0.1 * rng.normal(size=(40, SIZE)) for p in priors]
    vectors = np.concatenate(rows).astype(np.float32)
    return vectors, [p for p in priors for _ in range(40)], priors


def test_samples_follow_their_condition(world):
    vectors, conditions, priors = world
    generator = train_cvae(vectors, conditions, OPTIONS)
    for prior in priors:
        samples = generator.sample(prior, 16, seed=0)
        assert samples.shape == (16, SIZE)
        assert np.abs(samples - prior.mean).mean() < 0.3


def test_the_learned_prior_depends_on_the_condition(world):
    vectors, conditions, priors = world
    generator = train_cvae(vectors, conditions, OPTIONS)
    low, high = generator.model.prior(generator.scale.conditions(list(priors))).detach()
    assert (low - high).abs().max() > 1e-3


def test_one_seed_gives_the_same_bits_and_leaves_torch_alone(world):
    vectors, conditions, priors = world
    before = torch.random.get_rng_state()
    one, two = (
        train_cvae(vectors, conditions, OPTIONS).sample(priors[0], 2, seed=1) for _ in range(2)
    )
    np.testing.assert_array_equal(one, two)
    assert torch.equal(before, torch.random.get_rng_state())
    other = train_cvae(vectors, conditions, CvaeOptions(4, 32, 300, 32, seed=4))
    assert (other.sample(priors[0], 2, seed=1) != one).any()


def test_coordinates_that_never_vary_stay(world):
    vectors, conditions, priors = world
    vectors = vectors.copy()
    vectors[:, 5] = 0.25
    samples = train_cvae(vectors, conditions, OPTIONS).sample(priors[0], 3, seed=0)
    np.testing.assert_allclose(samples[:, 5], 0.25, atol=1e-5)
