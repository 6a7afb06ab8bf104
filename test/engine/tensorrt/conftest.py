"""TensorRT and CUDA on the CPU, in the shape of each version that matters."""

from __future__ import annotations

import pytest
from simulated_gpu.machine import Simulation, simulate
from simulated_gpu.tensorrt import VERSIONS


@pytest.fixture(params=VERSIONS)
def simulation(request, monkeypatch, tmp_path) -> Simulation:
    """Each version of TensorRT in turn."""
    return simulate(request.param, monkeypatch, tmp_path)


@pytest.fixture
def recent(monkeypatch, tmp_path) -> Simulation:
    """TensorRT 10.13."""
    return simulate("10.13.3.9", monkeypatch, tmp_path)


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
    simulation = simulate(version, monkeypatch, tmp_path)
    if "memory" in settings:
        simulation.driver.total = settings["memory"]
    given = {k: v for k, v in settings.items() if k != "memory"}
    with simulation.open(hand_made.bundle, **given) as engine:
        yield engine
    assert simulation.driver.left == (0, 0, 0, 0, 0)
