"""Dense alignment: its loss by hand, and that it leads off the plateau."""

import numpy as np
import pytest
import torch

from semla_ros.prepare.training.alignment import TEMPERATURE, align_dense, alignment_loss
from semla_ros.prepare.training.descent import FitOptions
from semla_ros.prepare.training.samples import IGNORE


def test_the_loss_is_the_softmax_cross_entropy_of_known_pixels():
    cosine = torch.rand(1, 3, 2, 2) * 2 - 1
    labels = torch.tensor([[[0, 1], [2, IGNORE]]])
    chance = torch.softmax(cosine / TEMPERATURE, dim=1).numpy()[0]
    by_hand = -np.mean([np.log(chance[0, 0, 0]), np.log(chance[1, 0, 1]), np.log(chance[2, 1, 0])])
    assert float(alignment_loss(cosine, labels)) == pytest.approx(by_hand, rel=1e-4)


def test_it_tells_two_classes_apart_in_a_few_steps(model, halves, prompts):
    assert align_dense(model, halves, prompts, FitOptions(40, 8, 2e-3)) < 0.5 * np.log(2)
    with torch.no_grad():
        one, other = model.encode_text(prompts(None))
    assert float(one @ other) < 0.9
