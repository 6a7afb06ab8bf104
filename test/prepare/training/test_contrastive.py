"""Contrastive training: the loss by hand, and a tiny CLIP that learns its pairs."""

import importlib.util

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/setup --dev")

from semla_ros.core.errors import TrainingError  # noqa: E402
from semla_ros.prepare.training.contrastive import Captioned, contrastive_loss, train_clip  # noqa: E402
from semla_ros.prepare.training.descent import FitOptions  # noqa: E402


def test_the_loss_is_the_mean_of_both_cross_entropies():
    rng = np.random.default_rng(0)
    images, texts = rng.standard_normal((2, 4, 6))
    logits = 7.0 * images @ texts.T
    rows = -np.log(np.exp(logits).diagonal() / np.exp(logits).sum(axis=1)).mean()
    columns = -np.log(np.exp(logits).diagonal() / np.exp(logits).sum(axis=0)).mean()
    ours = contrastive_loss(torch.tensor(images), torch.tensor(texts), torch.tensor(7.0))
    assert float(ours) == pytest.approx((rows + columns) / 2)


def test_pairs_must_match():
    with pytest.raises(TrainingError, match="expected tokens"):
        Captioned(torch.zeros(3, 3, 8, 8), torch.zeros(2, 1, 4, dtype=torch.int64))


def test_a_tiny_clip_learns_its_pairs():
    if importlib.util.find_spec("open_clip") is None:
        pytest.skip("needs open_clip_torch: scripts/setup --dev")
    from semla_ros.prepare.bundler.clip import ClipSize, create_clip

    size = ClipSize(16, 16, 8, 64, 1, 64, 1, 16, 4)
    clip = create_clip(size, seed=0)
    images = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    tokens = torch.tensor([[[14, i, 15, 0]] for i in range(1, 9)])
    loss = train_clip(clip, Captioned(images, tokens), FitOptions(60, 8, 3e-3))
    assert loss < 0.5 * np.log(8)
