"""A tiny network and images whose classes are colours."""

from importlib.util import find_spec

import numpy as np
import pytest

if find_spec("torch"):  # without it test/conftest.py skips this room
    import torch
    from fakes import tiny_config

    from semla_ros.network.checkpoint import create_catseg
    from semla_ros.prepare.training.alignment import align_dense
    from semla_ros.prepare.training.samples import ArrayImages
    from semla_ros.prepare.training.segmentation import FitOptions

SIZE = 32


@pytest.fixture
def model():
    config = tiny_config(text_layers=1, vocab_size=16, context_length=8)
    return create_catseg(config, seed=0).eval()


@pytest.fixture
def prompts():
    tokens = torch.tensor([[14, 1, 15], [14, 2, 15]])
    return lambda _: tokens


@pytest.fixture
def aligned(model, halves, prompts):
    """The model, led off the plateau."""
    align_dense(model, halves, prompts, FitOptions(40, 8, 2e-3))
    return model


@pytest.fixture
def halves():
    """Eight images, dark left and bright right, or the other way round; labels say which."""
    rgb = np.zeros((8, 40, 48, 3), np.uint8)
    labels = np.zeros((8, 40, 48), np.uint8)
    for i in range(8):
        side = slice(0, 24) if i % 2 else slice(24, 48)
        rgb[i, :, side] = 220
        labels[i, :, side] = 1
    return ArrayImages(rgb, labels)
