"""Small adapters, statistics and a library folder, all real files."""

import json
from pathlib import Path

import numpy as np
import pytest

from semla_ros.bundle import GraphWeight
from semla_ros.core.types import LoraAdapter, LoraLayer
from semla_ros.library.library import AdapterLibrary
from semla_ros.library.seal import CONFIG_FILE
from semla_ros.library.statistics import DomainStatistics
from semla_ros.prepare.adapters.write import write_adapter, write_statistics

SHAPES = {
    "clip.blocks.0.mlp.c_fc": (12, 8),
    "clip.blocks.0.mlp.c_proj": (8, 12),
    "head.attn.q": (6, 10),
}
BASE_MODEL = "catseg-tiny:1234"
ENCODER = "clip-tiny:center_crop"
DIM = 5


def _layers():
    return tuple(
        GraphWeight(name, f"{name}.weight", "segmentation", f"w_{i}", False, shape)
        for i, (name, shape) in enumerate(SHAPES.items())
    )


def _adapter(name="fog", *, seed=0, rank=4, scaling=2.0, base_model=BASE_MODEL, shapes=None):
    rng = np.random.default_rng(seed)
    layers = {
        layer: LoraLayer(
            rng.standard_normal((rank, shape[1])).astype(np.float32),
            rng.standard_normal((shape[0], rank)).astype(np.float32),
            scaling,
        )
        for layer, shape in (SHAPES if shapes is None else shapes).items()
    }
    return LoraAdapter(name, layers, base_model)


def _store(root: Path, name="fog", *, seed=0, alpha=8.0, **options):
    folder = root / name
    write_adapter(folder, _adapter(name, seed=seed, **options), alpha=alpha)
    centroid = np.random.default_rng(seed + 100).standard_normal(DIM).astype(np.float32)
    write_statistics(folder, name, DomainStatistics(centroid, count=7, encoder=ENCODER))
    return folder


def _edit_config(folder: Path, **changes):
    path = folder / CONFIG_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _open(root: Path, **changes):
    options = {
        "layers": _layers(),
        "base_model": BASE_MODEL,
        "encoder": ENCODER,
        "dim": DIM,
        **changes,
    }
    return AdapterLibrary.open(root, **options)


@pytest.fixture(scope="session")
def layers():
    return _layers()


@pytest.fixture(scope="session")
def make_adapter():
    return _adapter


@pytest.fixture(scope="session")
def store():
    return _store


@pytest.fixture(scope="session")
def edit_config():
    return _edit_config


@pytest.fixture(scope="session")
def open_library():
    return _open


@pytest.fixture
def root(tmp_path):
    """A library of three adapters, written out of alphabetical order."""
    folder = tmp_path / "library"
    for seed, name in enumerate(("rain", "fog", "night")):
        _store(folder, name, seed=seed)
    return folder
