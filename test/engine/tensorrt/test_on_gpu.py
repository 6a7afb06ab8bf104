"""The real thing, where there is one: TensorRT on an NVIDIA GPU."""

import importlib.util

import numpy as np
import pytest

from semla_ros.core.errors import EngineUnavailableError
from semla_ros.engine.onnx_engine import OnnxEngine

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        importlib.util.find_spec("tensorrt") is None, reason="needs the package tensorrt"
    ),
]

BOUNDS = {"f32": 2e-3, "f16": 2e-2}


@pytest.fixture(params=["inputs f32", "inputs f16", "refit f32", "refit f16"])
def real(request, hand_made, open_engine, tmp_path, monkeypatch):
    """Return the engine; skips naming the driver or GPU that is missing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    mode, precision = request.param.split()
    try:
        engine = open_engine(hand_made.bundle, mode=mode, precision=precision)
    except EngineUnavailableError as error:
        if "NVIDIA" in str(error) or "needs 10.2" in str(error):
            pytest.skip(str(error))
        raise
    with engine:
        yield engine


def serve(engine, weight_set):
    engine.prepare(weight_set)
    engine.commit()


def test_it_answers_as_onnx_runtime_does_after_every_swap(real, hand_made, make_set, rgb):
    with OnnxEngine(hand_made.bundle, threads=1) as reference:
        for seed, touched in ((1, 2), (2, 1), (3, 0), (1, 2)):
            for each in (real, reference):
                serve(each, make_set(seed, touched=touched))
            expected = reference.logits(rgb)
            error = np.linalg.norm(real.logits(rgb) - expected) / np.linalg.norm(expected)
            assert error < BOUNDS[real.precision]


def test_there_and_back_is_bit_identical(real, make_set, rgb):
    serve(real, make_set(1))
    first = real.logits(rgb)
    for seed in (2, 3, 2, 1):
        serve(real, make_set(seed))
    np.testing.assert_array_equal(real.logits(rgb), first)


def test_three_hundred_swaps_keep_the_memory(real, make_set):
    sets = [make_set(1), make_set(2)]
    for number in range(50):
        serve(real, sets[number % 2])
    before = real.free_device_bytes
    for number in range(300):
        serve(real, sets[number % 2])
    assert before - real.free_device_bytes < 2**20
