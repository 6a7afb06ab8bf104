"""Batches: shapes, flips and crops that keep labels with their pixels, one seed one batch."""

import numpy as np
import pytest
import torch

from semla_ros.prepare.training.samples import ArrayImages, View, draw_batch


@pytest.fixture
def images():
    labels = np.zeros((1, 20, 30), np.uint8)
    labels[:, :, 20:] = 1
    rgb = np.where(labels[..., None] == 1, 200, 20).astype(np.uint8).repeat(3, axis=3)
    return ArrayImages(rgb, labels)


@pytest.mark.parametrize(
    "view",
    [
        View((15, 15)),
        View((15, 15), crop=18),
        View((12, 12), crop=12),
        View((12, 18)),
        View((16, 12), crop=9),
    ],
)
def test_labels_follow_their_pixels(images, view):
    batch = draw_batch(images, np.random.default_rng(0), batch_size=8, view=view)
    assert batch.image.shape == (8, 3, *view.size)
    assert batch.image.dtype == torch.float32
    assert batch.labels.shape == (8, *view.size)
    bright = batch.image.mean(dim=1) > 100
    assert (bright == (batch.labels == 1)).float().mean() > 0.92


def test_half_are_flipped_and_crops_differ(images):
    whole = draw_batch(images, np.random.default_rng(0), batch_size=16, view=View((15, 15))).labels
    assert {int(x[0, 0]) for x in whole} == {0, 1}
    crops = draw_batch(
        images, np.random.default_rng(0), batch_size=16, view=View((12, 12), crop=12, flip=False)
    ).labels
    assert len({int((x == 1).sum()) for x in crops}) > 2


def test_the_seed_decides_everything_and_torch_s_generator_is_left_alone(images):
    def draw(seed):
        return draw_batch(
            images, np.random.default_rng(seed), batch_size=4, view=View((15, 15))
        ).image

    torch.manual_seed(1)
    before = torch.get_rng_state()
    assert torch.equal(draw(3), draw(3))
    assert not torch.equal(draw(3), draw(4))
    assert torch.equal(torch.get_rng_state(), before)


def test_images_that_fit_are_not_resized(images):
    rgb, labels = View((20, 20), crop=20).fit(*images[0])
    np.testing.assert_array_equal(rgb, images.rgb[0])
    np.testing.assert_array_equal(labels, images.labels[0])
