"""The navigator on TensorRT."""

import gc

import numpy as np
import onnx
import pytest
from small_bundle import small_bundle

from semla_ros.bundle import open_bundle
from semla_ros.core.errors import EngineError, EngineUnavailableError, PlanMissingError
from semla_ros.engine.tensorrt.plans import plan_folder
from semla_ros.engine.tensorrt.runner import TensorRtRunner
from semla_ros.navigator.encoder import OnnxImageEncoder, RunnerImageEncoder


@pytest.fixture
def small(tmp_path):
    """A whole bundle with a navigator."""
    return open_bundle(small_bundle(tmp_path / "small"))


def test_it_embeds_as_onnx_runtime_does(any_gpu, small):
    run = TensorRtRunner.open(small, build=True)
    ours, reference = RunnerImageEncoder(small, run), OnnxImageEncoder(small, threads=1)
    assert (ours.identity, ours.dim) == (reference.identity, reference.dim)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (20, 30, 3), dtype=np.uint8) for _ in range(3)]
    expected = reference.encode_batch(images)
    np.testing.assert_allclose(ours.encode_batch(images), expected, rtol=5e-3, atol=5e-3)
    run.close()
    run.close()
    with pytest.raises(EngineError, match="closed"):
        ours.encode(images[0])
    assert any_gpu.driver.left == (0, 0, 0, 0)


def test_nobody_has_to_close_it(gpu, small):
    TensorRtRunner.open(small, build=True)
    gc.collect()
    assert gpu.driver.left == (0, 0, 0, 0)


def test_a_plan_that_moves_embeddings_is_not_kept(gpu, small, monkeypatch):
    real = gpu.trt.ICudaEngine.__init__

    def moved(engine, refit, model):
        model.graph.node[-1].output[0] = "raw"
        model.graph.node.append(onnx.helper.make_node("Neg", ["raw"], ["embedding"]))
        real(engine, refit, model)

    monkeypatch.setattr(gpu.trt.ICudaEngine, "__init__", moved)
    with pytest.raises(EngineUnavailableError, match="navigator_engine 'onnx'"):
        TensorRtRunner.open(small, build=True)
    assert not list(plan_folder().glob("*"))
    assert gpu.driver.left == (0, 0, 0, 0)


def test_what_is_missing_is_told(gpu, small, hand_made):
    with pytest.raises(EngineUnavailableError, match="has no navigator"):
        TensorRtRunner.open(hand_made.bundle)
    with pytest.raises(PlanMissingError, match=r"plan of navigator.*semla engine build"):
        TensorRtRunner.open(small)
