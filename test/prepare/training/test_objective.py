"""Loss and score are what they say, ignored pixels masked or as the original has them."""

import numpy as np
import pytest
import torch

from semla_ros.core.errors import TrainingError
from semla_ros.prepare.training.descent import FitOptions
from semla_ros.prepare.training.networks import CatSegNetwork
from semla_ros.prepare.training.objective import (
    Objective,
    held_out_miou,
    pixel_loss,
    pixel_weights,
    softmax_loss,
)
from semla_ros.prepare.training.samples import IGNORE, ArrayImages


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


def test_unmasked_ignored_pixels_are_of_no_class():
    logits = torch.randn(1, 3, 4, 4)
    labels = torch.randint(0, 3, (1, 4, 4))
    labels[0, 0, 0] = IGNORE
    target = torch.nn.functional.one_hot(labels.clamp(max=3), 256)[..., :3].permute(0, 3, 1, 2)
    target[0, :, 0, 0] = 0
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, target.float())
    found = pixel_loss(logits, labels, mask_ignored=False)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
    assert float(found) != pytest.approx(float(pixel_loss(logits, labels)), rel=1e-3)


def test_the_loss_of_a_softmax_is_the_mean_cross_entropy_of_known_pixels():
    logits, labels = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    labels[0, 0, 0] = IGNORE
    chance = logits.softmax(dim=1).numpy()
    losses = [
        -np.log(chance[b, labels[b, y, x], y, x])
        for b, y, x in np.ndindex(2, 4, 4)
        if labels[b, y, x] != IGNORE
    ]
    assert float(softmax_loss(logits, labels)) == pytest.approx(np.mean(losses), rel=1e-5)
    small = torch.randn(1, 3, 2, 2)
    large = torch.nn.functional.interpolate(small, size=(4, 4), mode="bilinear")
    torch.testing.assert_close(softmax_loss(small, labels[:1]), softmax_loss(large, labels[:1]))


def test_the_doubled_tap_reads_the_first_tap_twice(model, tokens):
    image = torch.rand(1, 3, 32, 32) * 255
    with torch.no_grad():
        plain = CatSegNetwork(model)(image, tokens)
        doubled = CatSegNetwork(model, doubled_tap=True)(image, tokens)
        theirs = model(image, model.encode_text(tokens), torch.tensor([1]))
    torch.testing.assert_close(doubled, theirs)
    assert (plain - doubled).abs().max() > 1e-4


def test_the_score_is_that_of_whole_images_ignored_pixels_left_out(model, halves, tokens):
    class _Answers(CatSegNetwork):
        def forward(self, image, tokens):
            """Say class 1 where it is bright, which is right."""
            bright = image.mean(dim=1, keepdim=True) / 128.0
            return torch.cat([1.0 - bright, bright - 1.0], dim=1)

    perfect = Objective(_Answers(model))
    assert held_out_miou(perfect, halves, tokens, at_most=8) > 0.99
    swapped = ArrayImages(halves.rgb, 1 - halves.labels)
    assert held_out_miou(perfect, swapped, tokens, at_most=8) < 0.01
    ignored = ArrayImages(halves.rgb, np.where(halves.labels == 1, 255, 0).astype(np.uint8))
    assert held_out_miou(perfect, ignored, tokens, at_most=8) > 0.99


def test_senseless_options_are_refused():
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
