"""A machine with TensorRT and a GPU that are scripted, and the engine on it."""

from __future__ import annotations

import pytest
from scripted_gpu import VERSIONS, Gpu, install

from semla_ros.engine.options import EngineOptions
from semla_ros.engine.tensorrt.engine import TensorRtEngine


@pytest.fixture
def gpu(monkeypatch, tmp_path) -> Gpu:
    """TensorRT 10.13."""
    return install(monkeypatch, tmp_path)


@pytest.fixture(params=VERSIONS)
def any_gpu(request, monkeypatch, tmp_path) -> Gpu:
    """Each version of TensorRT in turn."""
    return install(monkeypatch, tmp_path, request.param)


@pytest.fixture
def open_engine():
    """Return a function that opens the engine of a bundle, by default building its plan."""

    def opened(bundle, *, precision="auto", build=True, **more) -> TensorRtEngine:
        options = EngineOptions(threads=1, precision=precision)
        return TensorRtEngine.open(bundle, options=options, build=build, **more)

    return opened


@pytest.fixture(params=["inputs f16", "inputs f32", "refit f16"])
def engine(request, hand_made, gpu, open_engine):
    """The engine in every shape, for the contract that all engines share."""
    mode, precision = request.param.split()
    with open_engine(hand_made.bundle, mode=mode, precision=precision) as engine:
        yield engine
    assert gpu.driver.left == (0, 0, 0, 0)


@pytest.fixture
def engine_set(make_set):
    """Return a factory of random sets; a plan takes the bundle's number of classes only."""

    def make(seed, touched=2, names=()):
        del names
        return make_set(seed, touched=touched)

    return make
