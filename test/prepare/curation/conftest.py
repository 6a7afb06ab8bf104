"""A small bundle to copy, and pictures whose colour is their embedding."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

TEST = Path(__file__).resolve().parents[2]


@pytest.fixture
def bundle(small, tmp_path):
    """A bundle's folder that a test may change."""
    copy = tmp_path / "bundle"
    shutil.copytree(small, copy)
    return copy


@pytest.fixture
def pictures(tmp_path):
    """Return a function that fills a folder with `count` pictures of random colours."""

    def make(count=40, name="pictures", seed=0):
        folder = tmp_path / name
        folder.mkdir()
        rng = np.random.default_rng(seed)
        for i in range(count):
            color = rng.integers(0, 256, 3, dtype=np.uint8)
            picture = np.broadcast_to(color, (20, 30, 3))
            cv2.imwrite(str(folder / f"{i:03d}.{'png' if i % 2 else 'jpg'}"), picture)
        return folder

    return make
