"""A set of images to be labelled, small and awkward."""

import numpy as np
import pytest

from semla_ros.data.labelling.label_set import Labelling, write_label_set

CLASSES = ("road", "traffic light", "car & <bus>", "sky")


def masks_of(count=4, size=(23, 37), unlabeled=255):
    """Return masks with every class, one without a class, blobs, stripes and single pixels."""
    rng = np.random.default_rng(0)
    masks = [rng.choice([0, 1, 2, 3, unlabeled], size) for _ in range(count)]
    masks[1][:] = np.repeat(np.arange(size[0]) % 4, size[1]).reshape(size)
    masks[2][:] = 3
    masks[3][:] = unlabeled
    masks[3][0, 0], masks[3][-1, -1] = 0, 2
    return [m.astype(np.uint8) for m in masks]


@pytest.fixture
def masks():
    return {f"robot-{i:03d}": m for i, m in enumerate(masks_of())}


@pytest.fixture
def label_set(tmp_path, masks):
    rng = np.random.default_rng(1)
    items = [
        Labelling(name, rng.integers(0, 256, (*mask.shape, 3), np.uint8), mask)
        for name, mask in masks.items()
    ]
    return write_label_set(tmp_path / "set", CLASSES, items)
