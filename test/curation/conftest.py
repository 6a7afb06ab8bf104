"""A small bundle to copy, and pictures whose colour is their embedding."""

import importlib.util
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

TEST = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def small():
    """The module that makes small bundles."""
    pytest.importorskip("onnx", reason="needs onnx to make the small bundle: scripts/setup --dev")
    path = TEST / "small_bundle.py"
    spec = importlib.util.spec_from_file_location("curation_small_bundle", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def pristine(small, tmp_path_factory):
    return small.small_bundle(tmp_path_factory.mktemp("curation") / "bundle")


@pytest.fixture
def bundle(pristine, tmp_path):
    """A bundle's folder that a test may change."""
    copy = tmp_path / "bundle"
    shutil.copytree(pristine, copy)
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
