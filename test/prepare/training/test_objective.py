"""The training loop: it learns, it repeats, it refuses, and its loss is what it says."""

import numpy as np
import pytest
import torch
from semla_ros.prepare.training.segmentation import FitOptions, fit, pixel_loss, pixel_weights

from semla_ros.core.errors import TrainingError
from semla_ros.prepare.training.samples import IGNORE, ArrayImages


def test_a_few_steps_lower_the_loss_and_the_same_seed_repeats_it(aligned, halves, prompts):
    before = {k: v.clone() for k, v in aligned.state_dict().items()}
    parameters = list(aligned.parameters())
    first = fit(aligned, parameters, halves, prompts, FitOptions(1, 8, 1e-9))
    trained = fit(aligned, parameters, halves, prompts, FitOptions(30, 8, 3e-3))
    assert trained < 0.85 * first
    aligned.load_state_dict(before)
    fit(aligned, parameters, halves, prompts, FitOptions(1, 8, 1e-9))
    assert fit(aligned, parameters, halves, prompts, FitOptions(30, 8, 3e-3)) == trained


def test_the_loss_is_the_mean_binary_cross_entropy_of_known_pixels():
    logits = torch.randn(2, 3, 4, 4)
    labels = torch.randint(0, 3, (2, 4, 4))
    labels[0, 0, 0] = IGNORE
    chance = torch.sigmoid(logits).numpy()
    total, count = 0.0, 0
    for b, y, x in np.ndindex(2, 4, 4):
        if labels[b, y, x] == IGNORE:
            continue
        for c in range(3):
            p = chance[b, c, y, x]
            total -= np.log(p if labels[b, y, x] == c else 1 - p)
            count += 1
    assert float(pixel_loss(logits, labels)) == pytest.approx(total / count, rel=1e-5)


def test_no_images_and_senseless_options_are_refused(model, prompts):
    empty = ArrayImages(np.zeros((0, 4, 4, 3), np.uint8), np.zeros((0, 4, 4), np.uint8))
    with pytest.raises(TrainingError, match="at least one"):
        fit(model, list(model.parameters()), empty, prompts, FitOptions(1, 1, 1e-3))
    for steps, batch, rate in ((0, 1, 1e-3), (1, 0, 1e-3), (1, 1, 0.0)):
        with pytest.raises(TrainingError, match="expected steps"):
            FitOptions(steps, batch, rate)


def test_balanced_weights_follow_the_class_frequency():
    labels = torch.zeros(1, 4, 4, dtype=torch.int64)
    labels[0, 0, 0] = 1
    labels[0, 3, 3] = IGNORE
    plain = pixel_weights(labels, 2, balance=0.0)
    assert plain.sum() == 15
    assert plain[0, 3, 3] == 0
    balanced = pixel_weights(labels, 2, balance=1.0)
    rare = balanced[labels == 1].sum()
    common = balanced[labels == 0].sum()
    assert float(rare) == pytest.approx(float(common))
