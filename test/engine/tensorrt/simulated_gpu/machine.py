"""A machine with a GPU that is none: what `import tensorrt` and `libcuda.so.1` find there."""

from __future__ import annotations

import ctypes
import importlib.machinery
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from semla_ros.engine.options import AUTO, EngineOptions
from semla_ros.engine.tensorrt.engine import TensorRtEngine
from semla_ros.engine.tensorrt.options import ClassRange
from semla_ros.engine.tensorrt.settings import TensorRtSettings
from simulated_gpu.driver import FakeDriver
from simulated_gpu.tensorrt import fake_tensorrt

ANY_COUNT = ClassRange(1, 4, 256)
UNLIKE = -1.0
"""Random weights need not look like the base."""


@dataclass
class Simulation:
    trt: ModuleType
    driver: FakeDriver
    folder: Path

    def open(self, bundle, *, precision=AUTO, classes=ANY_COUNT, **settings) -> TensorRtEngine:
        defaults = {"build": True, "likeness": UNLIKE, "classes": classes, "folder": self.folder}
        return TensorRtEngine.open(
            bundle,
            options=EngineOptions(threads=1, precision=precision),
            settings=TensorRtSettings(**defaults | settings),
        )


def simulate(version: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Simulation:
    """Return the machine; plans go to `folder`."""
    trt, driver = fake_tensorrt(version), FakeDriver()
    trt.__spec__ = importlib.machinery.ModuleSpec("tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    real = ctypes.CDLL

    def load(name, *arguments, **options):
        return driver if name == "libcuda.so.1" else real(name, *arguments, **options)

    monkeypatch.setattr(ctypes, "CDLL", load)
    return Simulation(trt, driver, folder)
