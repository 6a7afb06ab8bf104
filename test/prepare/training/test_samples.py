"""Batches: shapes, flips that keep labels with their pixels, and folders of files."""

import cv2
import numpy as np
import pytest

from semla_ros.core.errors import TrainingError
from semla_ros.prepare.training.samples import ArrayImages, FolderImages, draw_batch


def test_labels_follow_their_pixels_through_flip_and_squash():
    labels = np.zeros((1, 20, 30), np.uint8)
    labels[:, :, 20:] = 1
    rgb = np.where(labels[..., None] == 1, 200, 20).astype(np.uint8).repeat(3, axis=3)
    batch = draw_batch(ArrayImages(rgb, labels), np.random.default_rng(0), batch_size=8, size=15)
    assert batch.image.shape == (8, 3, 15, 15)
    assert batch.labels.shape == (8, 15, 15)
    bright = batch.image.mean(dim=1) > 110
    assert (bright == (batch.labels == 1)).float().mean() > 0.92
    assert len({int(x[0, 0]) for x in batch.labels}) == 2, "flipped and not flipped"


def test_a_folder_pairs_images_with_labels_by_stem(tmp_path):
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.mkdir()
    labels.mkdir()
    with pytest.raises(TrainingError, match="found none"):
        FolderImages.open(images, labels)
    cv2.imwrite(str(images / "a.png"), np.full((4, 6, 3), (10, 20, 30), np.uint8))
    with pytest.raises(TrainingError, match=r"no label file.*'a\.png'"):
        FolderImages.open(images, labels)
    cv2.imwrite(str(labels / "a.png"), np.full((4, 6), 3, np.uint8))
    rgb, label = FolderImages.open(images, labels)[0]
    assert rgb[0, 0].tolist() == [30, 20, 10]
    assert (label == 3).all()
    cv2.imwrite(str(labels / "a.png"), np.full((5, 6), 3, np.uint8))
    with pytest.raises(TrainingError, match=r"of its size.*'a\.png'"):
        FolderImages.open(images, labels)[0]
