"""Each missing thing is named: package, libraries, driver, GPU, plan; and the navigator."""

import importlib
import importlib.util
import sys

import numpy as np
import onnx
import pytest
from simulated_gpu.tensorrt import fake_tensorrt
from small_bundle import small_bundle

from semla_ros.bundle import open_bundle
from semla_ros.engine import create_engine, tensorrt
from semla_ros.engine.options import EngineOptions
from semla_ros.engine.tensorrt.availability import only_lacks_plan
from semla_ros.engine.tensorrt.options import BuildOptions, ClassRange
from semla_ros.engine.tensorrt.prebuild import BuildRequest, prebuild
from semla_ros.engine.tensorrt.runner import TensorRtRunner
from semla_ros.engine.tensorrt.settings import TensorRtSettings
from semla_ros.errors import EngineError, EngineUnavailableError
from semla_ros.navigator.encoder import OnnxImageEncoder, RunnerImageEncoder

HERE = importlib.util.find_spec("tensorrt") is not None


@pytest.fixture
def small(tmp_path):
    """A whole bundle with a navigator."""
    return open_bundle(small_bundle(tmp_path / "small"))


@pytest.mark.skipif(HERE, reason="tensorrt is installed: nothing is missing")
def test_without_the_package_the_extra_is_named(hand_made):
    with pytest.raises(EngineUnavailableError, match=r"'semla-ros\[tensorrt\]'"):
        create_engine("tensorrt", hand_made.bundle)


def test_a_package_that_does_not_load_says_which_library(hand_made, monkeypatch, tmp_path):
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.10: no such file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(EngineUnavailableError, match=r"libnvinfer\.so\.10"):
        create_engine("tensorrt", hand_made.bundle)


def test_a_tensorrt_before_8_5_is_refused(recent, hand_made):
    del recent.trt.IExecutionContext.execute_async_v3
    recent.trt.__version__ = "8.4.1"
    with pytest.raises(EngineUnavailableError, match=r"8\.5 or newer, got 8\.4\.1"):
        recent.open(hand_made.bundle)


def test_a_runtime_that_does_not_start_is_told(recent, hand_made, monkeypatch):
    def null(logger):
        raise TypeError("pybind11::init(): factory function returned nullptr")

    monkeypatch.setattr(recent.trt, "Runtime", null)
    with pytest.raises(EngineUnavailableError, match="does not start on Fake GPU"):
        recent.open(hand_made.bundle)
    assert recent.driver.left == (0, 0, 0, 0, 0)


def test_without_onnx_a_plan_cannot_be_built_but_is_found(recent, hand_made, monkeypatch):
    for name in ("graph", "half"):
        module = importlib.import_module(f"semla_ros.engine.tensorrt.{name}")
        monkeypatch.setattr(tensorrt, name, module)  # put back afterwards
        monkeypatch.delitem(sys.modules, module.__name__)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "onnx", None)
        with pytest.raises(EngineUnavailableError, match="needs the Python package 'onnx'"):
            recent.open(hand_made.bundle)
    recent.open(hand_made.bundle).close()
    monkeypatch.setitem(sys.modules, "semla_ros.engine.tensorrt.graph", None)
    recent.open(hand_made.bundle, build=False).close()


def test_only_lacking_a_plan_is_told_apart(recent, hand_made, monkeypatch):
    settings = TensorRtSettings(folder=recent.folder)
    options = EngineOptions(threads=1)
    assert only_lacks_plan(hand_made.bundle, options, settings)
    for other in (EngineOptions(device="cpu"), EngineOptions(precision="bf16")):
        assert not only_lacks_plan(hand_made.bundle, other, settings)
    recent.open(hand_made.bundle).close()
    assert not only_lacks_plan(hand_made.bundle, options, settings)
    recent.driver.devices = 0
    assert not only_lacks_plan(
        hand_made.bundle, options, TensorRtSettings(folder=recent.folder / "x")
    )
    assert recent.driver.left == (0, 0, 0, 0, 0)


def request(bundle, folder, **changes):
    options = BuildOptions(ClassRange.exactly(len(bundle.manifest.vocabulary.names)))
    return BuildRequest(bundle, options, folder=folder, threads=1, **changes)


def test_building_ahead_proves_both_plans_and_builds_each_once(simulation, small):
    told = []
    report = prebuild(
        request(small, simulation.folder), progress=lambda *step: told.append(step) or True
    )
    assert report.plan.is_file()
    assert report.detail.startswith("refit, double")
    assert max(report.errors.values()) < 2e-2
    assert report.navigator_error < 5e-3
    assert len(simulation.trt.built) == 2
    assert told
    prebuild(request(small, simulation.folder))
    assert len(simulation.trt.built) == 2
    prebuild(request(small, simulation.folder, again=True, navigator=False))
    assert len(simulation.trt.built) == 3
    assert simulation.driver.left == (0, 0, 0, 0, 0)


def test_the_navigator_embeds_as_onnx_runtime_does(simulation, small):
    settings = TensorRtSettings(folder=simulation.folder, build=True)
    run = TensorRtRunner.open(small, options=EngineOptions(threads=1), settings=settings)
    ours, reference = RunnerImageEncoder(small, run), OnnxImageEncoder(small, threads=1)
    assert (ours.identity, ours.dim) == (reference.identity, reference.dim)
    images = [
        np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        for seed in range(3)
    ]
    expected = reference.encode_batch(images)
    np.testing.assert_allclose(ours.encode_batch(images), expected, rtol=5e-3, atol=5e-3)
    run.close()
    run.close()
    with pytest.raises(EngineError, match="closed"):
        ours.encode(images[0])
    assert simulation.driver.left == (0, 0, 0, 0, 0)


def test_a_navigator_that_moves_embeddings_is_refused(recent, small, monkeypatch):
    settings = TensorRtSettings(folder=recent.folder, build=True)
    options = EngineOptions(threads=1)
    TensorRtRunner.open(small, options=options, settings=settings).close()
    real = recent.trt.ICudaEngine.__init__

    def moved(engine, header, model):
        nodes = [onnx.helper.make_node("Abs", ["raw"], ["embedding"])]
        model.graph.node[-1].output[0] = "raw"
        model.graph.node.extend(nodes)
        real(engine, header, model)

    monkeypatch.setattr(recent.trt.ICudaEngine, "__init__", moved)
    with pytest.raises(EngineUnavailableError, match="navigator_engine 'onnx'"):
        TensorRtRunner.open(small, options=options, settings=settings)
    assert recent.driver.left == (0, 0, 0, 0, 0)


def test_a_bundle_without_navigator_and_one_without_a_plan_are_told(recent, small, hand_made):
    options, settings = EngineOptions(threads=1), TensorRtSettings(folder=recent.folder)
    with pytest.raises(EngineUnavailableError, match="has no navigator"):
        TensorRtRunner.open(hand_made.bundle, options=options, settings=settings)
    with pytest.raises(EngineUnavailableError, match=r"plan of navigator.*semla engine build"):
        TensorRtRunner.open(small, options=options, settings=settings)


def test_the_simulation_has_no_name_that_the_real_bindings_lack():
    trt = fake_tensorrt("11.4.0.106")
    assert not hasattr(trt.BuilderFlag, "FP16")
    assert not hasattr(trt.IBuilderConfig, "get_quantization_flag")
