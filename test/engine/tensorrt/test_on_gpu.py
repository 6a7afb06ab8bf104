"""The real thing, where there is one: TensorRT on an NVIDIA GPU."""

import numpy as np
import pytest

from semla_ros.engine.onnx_engine import OnnxEngine
from semla_ros.engine.options import EngineOptions
from semla_ros.engine.tensorrt.engine import TensorRtEngine
from semla_ros.engine.tensorrt.options import ClassRange
from semla_ros.engine.tensorrt.settings import TensorRtSettings
from semla_ros.errors import EngineUnavailableError

pytestmark = pytest.mark.gpu

SHAPES = {
    "refit f32": {"precision": "f32"},
    "refit f16": {"precision": "f16"},
    "inputs f16": {"precision": "f16", "mode": "inputs"},
    "one engine f16": {"precision": "f16", "one_engine": True},
    "refit f32, several class counts": {"precision": "f32", "classes": ClassRange(2, 4, 8)},
}
BOUNDS = {"f32": 2e-3, "f16": 2e-2}


@pytest.fixture(params=SHAPES)
def real(request, hand_made, tmp_path):
    """Return the engine and its bound; skips naming what is missing."""
    given = {"mode": "refit", "classes": ClassRange.exactly(4)} | SHAPES[request.param]
    precision = given.pop("precision")
    settings = TensorRtSettings(folder=tmp_path, build=True, likeness=-1.0, **given)
    options = EngineOptions(threads=1, precision=precision)
    try:
        engine = TensorRtEngine.open(hand_made.bundle, options=options, settings=settings)
    except EngineUnavailableError as error:
        if "expected" in str(error) and ("package" in str(error) or "GPU" in str(error)):
            pytest.skip(str(error))
        raise
    with engine:
        yield engine, BOUNDS[precision]


def serve(engine, weight_set):
    engine.prepare(weight_set)
    engine.commit()


def test_it_answers_as_onnx_runtime_does_after_every_swap(real, hand_made, make_set, rgb):
    engine, bound = real
    with OnnxEngine(hand_made.bundle, threads=1) as reference:
        for seed, touched in ((1, 2), (2, 1), (3, 0), (1, 2)):
            for each in (engine, reference):
                serve(each, make_set(seed, touched=touched))
            expected = reference.logits(rgb)
            error = np.linalg.norm(engine.logits(rgb) - expected) / np.linalg.norm(expected)
            assert error < bound


def test_there_and_back_is_bit_identical(real, make_set, rgb):
    engine, _ = real
    serve(engine, make_set(1))
    first = engine.logits(rgb)
    for seed in (2, 3, 2, 1):
        serve(engine, make_set(seed))
    np.testing.assert_array_equal(engine.logits(rgb), first)


def test_three_hundred_swaps_keep_the_memory(real, make_set):
    engine, _ = real
    sets = [make_set(1), make_set(2)]
    for number in range(50):
        serve(engine, sets[number % 2])
    before = engine.free_device_bytes
    for number in range(300):
        serve(engine, sets[number % 2])
    assert before - engine.free_device_bytes < 2**20
