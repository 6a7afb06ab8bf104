"""What the builder is asked for, on each version of the bindings."""

import sys
from pathlib import Path

import pytest
from scripted_gpu import Gpu, install

from semla_ros.bundle import open_bundle
from semla_ros.core.errors import EngineError, EngineUnavailableError
from semla_ros.engine.tensorrt.build import build_plan
from semla_ros.engine.tensorrt.plans import PlanRequest
from semla_ros.engine.tensorrt.toolkit import Toolkit

TYPING = {  # network flags, builder flags in f16
    "8.5.3.1": ({"EXPLICIT_BATCH"}, {"FP16"}),
    "10.2.0": ({"EXPLICIT_BATCH", "STRONGLY_TYPED"}, set()),
    "10.13.3.9": ({"EXPLICIT_BATCH", "STRONGLY_TYPED"}, set()),
    "11.4.0.106": ({"STRONGLY_TYPED"}, set()),
}


@pytest.fixture
def build(hand_made):
    """Return a function that builds a plan of the hand-made bundle."""

    def made(mode="inputs", precision="f16", tell=None):
        wanted = PlanRequest.segmentation(hand_made.bundle, mode, precision)
        toolkit = Toolkit.open()
        try:
            return build_plan(wanted, toolkit, tell)
        finally:
            toolkit.cuda.close()

    return made


@pytest.mark.parametrize("precision", ["f16", "f32"])
def test_the_graph_says_the_types_wherever_it_can(any_gpu, build, precision):
    assert isinstance(build(precision=precision), bytes)
    ((network, builder, _),) = any_gpu.networks
    wanted, half = TYPING[any_gpu.trt.__version__]
    assert network == wanted
    assert builder == (half if precision == "f16" else set()), "and no TF32"


def test_only_our_weights_can_be_refitted(gpu, build):
    build("refit")
    ((_, builder, model),) = gpu.networks
    assert builder == {"REFIT_INDIVIDUAL"}
    assert {"fc1", "fc2"} <= {t.name for t in model.graph.initializer}


def test_how_far_it_is_is_told_and_can_be_stopped(gpu, build):
    told = []
    build(tell=lambda *step: told.append(step) or True)
    assert told == [("tactics", 1, 2)]
    with pytest.raises(EngineError, match="builds nothing"):
        build(tell=lambda *step: False)


def test_an_old_tensorrt_does_not_tell(monkeypatch, tmp_path, build):
    install(monkeypatch, tmp_path, "8.5.3.1")
    build(tell=lambda *step: pytest.fail("it has no progress monitor"))


@pytest.mark.parametrize(
    ("refused", "told"),
    [
        ("parse_from_file", "cannot parse the graph: In node 0"),
        ("build_serialized_network", "builds nothing"),
    ],
)
def test_what_the_builder_refuses_is_said(gpu, build, refused, told):
    gpu.refuse.append(refused)
    with pytest.raises(EngineError, match=told):
        build()


def test_what_the_builder_raises_is_said(gpu, build, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("CUDA error 719")

    monkeypatch.setattr(gpu.trt.Builder, "build_serialized_network", fail)
    with pytest.raises(EngineError, match="builds nothing: CUDA error 719"):
        build()


def test_weights_that_tensorrt_lost_are_named(gpu, build, monkeypatch):
    monkeypatch.setattr(
        gpu.trt.INetworkDefinition, "mark_weights_refittable", lambda network, name: name != "fc2"
    )
    with pytest.raises(EngineError, match=r"\['fc2'\] \(1 of 2\)"):
        build("refit")


def test_without_onnx_a_plan_cannot_be_built(gpu, build, monkeypatch):
    monkeypatch.setitem(sys.modules, "semla_ros.engine.tensorrt.graph", None)
    with pytest.raises(EngineUnavailableError, match=r"needs the Python package.*pip install"):
        build()


@pytest.mark.parametrize(("version", "kept"), [("8.5.3.1", False), ("10.2.0", True)])
def test_layer_norms_are_spelt_out_where_the_parser_does_not_know_them(
    monkeypatch, tmp_path, version, kept
):
    demo = Path(__file__).parents[3] / "models" / "demo"
    if not (demo / "segmentation.onnx").is_file():
        pytest.skip("needs models/demo/segmentation.onnx")
    gpu = install(monkeypatch, tmp_path, version)
    bundle = open_bundle(demo, verify=False)
    build_plan(PlanRequest.segmentation(bundle, "inputs", "f16"), Toolkit.open())
    ((_, _, model),) = gpu.networks
    assert ("LayerNormalization" in {node.op_type for node in model.graph.node}) == kept


def test_the_script_has_no_name_that_the_real_bindings_lack():
    old, new = Gpu("8.5.3.1").trt, Gpu("11.4.0.106").trt
    assert not hasattr(old, "IProgressMonitor")
    assert not hasattr(old.Refitter, "refit_cuda_engine_async")
    assert not hasattr(old.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")
    assert not hasattr(new.BuilderFlag, "FP16")
    assert not hasattr(new.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH")
