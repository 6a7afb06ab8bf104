"""TensorRT and CUDA on the CPU, in the shape of each version that matters."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from semla_ros.engine.options import AUTO, EngineOptions
from semla_ros.engine.tensorrt.engine import TensorRtEngine
from semla_ros.engine.tensorrt.options import ClassRange
from semla_ros.engine.tensorrt.settings import TensorRtSettings


def _beside(name: str) -> ModuleType:
    """Return a module of this folder, which is no package."""
    known = f"semla_test_{name}"
    if known not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            known, Path(__file__).with_name(f"{name}.py")
        )
        module = importlib.util.module_from_spec(spec)
        sys.modules[known] = module
        spec.loader.exec_module(module)
    return sys.modules[known]


FakeDriver = _beside("fake_driver").FakeDriver
fake_tensorrt = _beside("fake_tensorrt").fake_tensorrt
VERSIONS = _beside("fake_tensorrt").VERSIONS

ANY_COUNT = ClassRange(1, 4, 256)
UNLIKE = -1.0
"""Random weights need not look like the base."""


@dataclass
class Simulation:
    """A machine with a GPU that is none."""

    trt: ModuleType
    driver: object

    def open(self, bundle, *, precision=AUTO, classes=ANY_COUNT, **settings) -> TensorRtEngine:
        return TensorRtEngine.open(
            bundle,
            options=EngineOptions(threads=1, precision=precision),
            settings=TensorRtSettings(
                classes=classes, **{"build": True, "likeness": UNLIKE} | settings
            ),
        )


def simulate(version: str, monkeypatch: pytest.MonkeyPatch) -> Simulation:
    trt, driver = fake_tensorrt(version), FakeDriver()
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    trt.__spec__ = object()  # importlib.util.find_spec asks for it
    real = ctypes.CDLL
    monkeypatch.setattr(
        ctypes,
        "CDLL",
        lambda name, *a, **k: driver if name == "libcuda.so.1" else real(name, *a, **k),
    )
    return Simulation(trt, driver)


@pytest.fixture(params=VERSIONS)
def simulation(request, monkeypatch) -> Simulation:
    """Each version of TensorRT in turn."""
    return simulate(request.param, monkeypatch)


@pytest.fixture
def recent(monkeypatch) -> Simulation:
    """TensorRT 10.13."""
    return simulate("10.13.3.9", monkeypatch)


ENGINES = {
    "10.13 refit": ("10.13.3.9", {}),
    "10.13 inputs": ("10.13.3.9", {"mode": "inputs"}),
    "10.13 one engine": ("10.13.3.9", {"memory": 0}),
    "10.2 refit f32": ("10.2.0", {"precision": "f32"}),
    "8.5 refit": ("8.5.3.1", {}),
    "11.4 refit": ("11.4.0.106", {}),
    "11.4 inputs": ("11.4.0.106", {"mode": "inputs"}),
}


@pytest.fixture(params=ENGINES)
def engine(request, hand_made, monkeypatch, tmp_path):
    """The engine in every shape, for the contract that all engines share."""
    version, settings = ENGINES[request.param]
    simulation = simulate(version, monkeypatch)
    if "memory" in settings:
        simulation.driver.total = settings["memory"]
    given = {k: v for k, v in settings.items() if k != "memory"}
    with simulation.open(hand_made.bundle, folder=tmp_path, **given) as engine:
        yield engine
    assert simulation.driver.left == (0, 0, 0, 0, 0)
