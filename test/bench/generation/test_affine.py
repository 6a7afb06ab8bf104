"""Weights of any sign: additive descriptions are taken apart and put together again."""

import numpy as np

from semla_ros.bench.generation.affine import affine_weights


def test_snow_and_night_are_put_together():
    rng = np.random.default_rng(0)
    weather, light = rng.normal(size=(4, 16)), rng.normal(size=(2, 16))
    turned = rng.normal(size=(16, 6)) / 4
    pairs = [(w, n) for w in range(4) for n in range(2)]
    texts = np.stack([weather[w] + light[n] for w, n in pairs])
    shown = texts @ turned
    left = pairs.index((3, 1))
    others = [i for i in range(len(pairs)) if i != left]
    weights = affine_weights(texts[left], texts[others])
    np.testing.assert_allclose(weights.sum(), 1.0)
    assert weights.min() < 0
    error = np.linalg.norm(weights @ shown[others] - shown[left])
    nearest = min(np.linalg.norm(shown[i] - shown[left]) for i in others)
    assert error < nearest / 2
