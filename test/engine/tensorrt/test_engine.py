"""The engine with TensorRT scripted: what it answers, when it allocates, what a failure leaves."""

from dataclasses import replace

import numpy as np
import onnx
import pytest

from semla_ros.core.errors import (
    BundleError,
    EngineError,
    EngineUnavailableError,
    PlanMissingError,
    VocabularyError,
)
from semla_ros.core.types import AdapterMix
from semla_ros.engine import create_engine
from semla_ros.engine.onnx_engine import OnnxEngine
from semla_ros.engine.tensorrt.plans import plan_folder

BOUNDS = {"f32": 1e-5, "f16": 2e-2}


def serve(engine, weight_set):
    engine.prepare(weight_set)
    engine.commit()


def answer(engine, rgb):
    return engine.infer(rgb, keep_logits=True).logits


def agrees(engine, bundle, make_set, rgb):
    """Hold `engine` against ONNX Runtime through four swaps."""
    with OnnxEngine(bundle, threads=1) as reference:
        for seed, touched in ((1, 2), (2, 1), (3, 0), (1, 2)):
            for each in (engine, reference):
                serve(each, make_set(seed, touched=touched))
            expected = answer(reference, rgb)
            error = np.linalg.norm(answer(engine, rgb) - expected) / np.linalg.norm(expected)
            assert error < BOUNDS[engine.facts.precision]


@pytest.mark.parametrize("precision", BOUNDS)
def test_it_answers_as_onnx_runtime_does(
    any_gpu, hand_made, open_engine, make_set, rgb, precision
):
    with open_engine(hand_made.bundle, precision=precision) as engine:
        facts = engine.facts
        assert (facts.name, facts.precision, facts.device) == ("tensorrt", precision, "cuda")
        agrees(engine, hand_made.bundle, make_set, rgb)
    assert any_gpu.driver.left == (0, 0, 0, 0)


@pytest.mark.parametrize("precision", BOUNDS)
def test_refitting_answers_the_same_from_10_2_on(
    any_gpu, hand_made, open_engine, make_set, rgb, precision
):
    given = {"mode": "refit", "precision": precision}
    if any_gpu.trt.__version__.startswith("8."):
        with pytest.raises(EngineUnavailableError, match=r"10\.2 or newer, got 8\.5"):
            open_engine(hand_made.bundle, **given)
    else:
        with open_engine(hand_made.bundle, **given) as engine:
            agrees(engine, hand_made.bundle, make_set, rgb)
    assert any_gpu.driver.left == (0, 0, 0, 0)


FAILURES = {
    "the copy": lambda gpu: gpu.driver.fail.update(cuMemcpyHtoDAsync_v2=1),
    "the wait": lambda gpu: gpu.driver.fail.update(cuStreamSynchronize=1),
    "the refit": lambda gpu: gpu.refuse.append("refit_cuda_engine_async"),
}


@pytest.mark.parametrize("fails", FAILURES)
def test_a_set_that_fails_to_load_leaves_the_old_one(
    gpu, hand_made, open_engine, make_set, rgb, fails
):
    mode = "refit" if fails == "the refit" else "inputs"
    with open_engine(hand_made.bundle, mode=mode) as engine:
        serve(engine, make_set(1))
        before = answer(engine, rgb)
        FAILURES[fails](gpu)
        with pytest.raises(EngineError):
            engine.prepare(make_set(2))
        gpu.driver.fail.clear()
        with pytest.raises(EngineError, match="without a prepared"):
            engine.commit()
        np.testing.assert_array_equal(answer(engine, rgb), before)
        serve(engine, make_set(2))
        assert not np.array_equal(answer(engine, rgb), before)
        serve(engine, make_set(1))
        np.testing.assert_array_equal(answer(engine, rgb), before)


def test_a_weight_beyond_f16_is_refused_by_name(gpu, hand_made, open_engine, make_set, rgb):
    large = make_set(2)
    large.weights.arrays["head.fc2"][0, 0] = 7e4
    with open_engine(hand_made.bundle) as engine:
        serve(engine, make_set(1))
        before = answer(engine, rgb)
        with pytest.raises(EngineError, match=r"'head\.fc2'.*65504.*precision f32"):
            engine.prepare(large)
        np.testing.assert_array_equal(answer(engine, rgb), before)


def test_the_frame_loop_only_enqueues(gpu, hand_made, open_engine, make_set, rgb):
    """On the frames' stream: copy in, run, copy out, wait; a swap is other addresses."""
    with open_engine(hand_made.bundle) as engine:
        serve(engine, make_set(1))
        engine.prepare(make_set(2))
        gpu.driver.calls.clear()
        engine.commit()
        engine.infer(rgb)
        assert gpu.driver.calls == [
            "cuMemcpyHtoDAsync_v2",
            "cuMemcpyDtoHAsync_v2",
            "cuStreamSynchronize",
        ]
        gpu.driver.calls.clear()
        engine.prepare(make_set(1))
        assert not [call for call in gpu.driver.calls if "Alloc" in call or "Free" in call]
        assert sorted(gpu.driver.streams.values()) == [-5, 0]


def test_a_run_that_tensorrt_does_not_start_is_said(gpu, hand_made, open_engine, make_set, rgb):
    with open_engine(hand_made.bundle) as engine:
        serve(engine, make_set(1))
        gpu.refuse.append("execute_async_v3")
        with pytest.raises(EngineError, match="did not start the run"):
            engine.infer(rgb)
        engine.infer(rgb)


def test_a_context_that_tensorrt_does_not_make_is_said(gpu, hand_made, open_engine):
    gpu.refuse.append("create_execution_context")
    with pytest.raises(EngineUnavailableError, match="makes no context"):
        open_engine(hand_made.bundle)
    assert gpu.driver.left == (0, 0, 0, 0)


@pytest.mark.parametrize(
    "fails", ["cuMemAlloc_v2", "cuMemHostAlloc", "cuStreamCreateWithPriority"]
)
def test_a_gpu_that_is_full_is_said_and_leaks_nothing(gpu, hand_made, open_engine, fails):
    open_engine(hand_made.bundle).close()
    gpu.driver.fail[fails] = 2
    with pytest.raises(EngineUnavailableError, match=rf"{fails}.*OUT_OF_MEMORY.*engine 'onnx'"):
        open_engine(hand_made.bundle, build=False)
    assert gpu.driver.left == (0, 0, 0, 0)


def test_without_a_plan_the_message_tells_how_to_build_one(gpu, hand_made, open_engine):
    with pytest.raises(PlanMissingError, match=r"plan of segmentation.*semla engine build"):
        open_engine(hand_made.bundle, build=False)
    assert gpu.driver.left == (0, 0, 0, 0)


def test_a_plan_is_built_once_and_found_again(gpu, hand_made, open_engine):
    for build in (True, False, True):
        open_engine(hand_made.bundle, build=build).close()
    assert len(gpu.networks) == 1
    open_engine(hand_made.bundle, again=True).close()
    assert len(gpu.networks) == 2


def test_a_plan_that_the_runtime_refuses_is_built_once_more(gpu, hand_made, open_engine):
    open_engine(hand_made.bundle).close()
    gpu.refuse.append("deserialize_cuda_engine")
    open_engine(hand_made.bundle).close()
    assert len(gpu.networks) == 2
    gpu.refuse.append("deserialize_cuda_engine")
    for _ in range(2):
        with pytest.raises(PlanMissingError):
            open_engine(hand_made.bundle, build=False)


@pytest.mark.parametrize("mode", ["inputs", "refit"])
def test_a_plan_that_answers_wrongly_is_never_kept(gpu, hand_made, open_engine, monkeypatch, mode):
    """A part of the graph is lost, as TensorRT 11.3 says of biases in refittable engines."""
    real = gpu.trt.ICudaEngine.__init__

    def loses(engine, refit, model):
        white = next(t for t in model.graph.initializer if t.name == "white")
        white.CopyFrom(onnx.numpy_helper.from_array(np.float32(900), "white"))
        real(engine, refit, model)

    monkeypatch.setattr(gpu.trt.ICudaEngine, "__init__", loses)
    with pytest.raises(EngineUnavailableError, match="of ONNX Runtime's"):
        open_engine(hand_made.bundle, mode=mode)
    assert not list(plan_folder().glob("*"))
    assert gpu.driver.left == (0, 0, 0, 0)


def test_a_plan_of_another_graph_is_refused(gpu, hand_made, open_engine, monkeypatch):
    open_engine(hand_made.bundle).close()
    shape = gpu.trt.ICudaEngine.get_tensor_shape
    monkeypatch.setattr(gpu.trt.ICudaEngine, "get_tensor_shape", lambda *a: (*shape(*a)[:-1], 7))
    with pytest.raises(EngineUnavailableError, match=r"tensor 'fc1' of the plan: expected"):
        open_engine(hand_made.bundle, build=False)


def test_a_class_list_of_another_length_is_refused(gpu, hand_made, open_engine, make_set):
    with open_engine(hand_made.bundle) as engine:
        for names in (("road", "sky"), tuple(f"class {i}" for i in range(6))):
            with pytest.raises(VocabularyError, match=f"4 classes.*got {len(names)}.*'onnx'"):
                engine.prepare(make_set(1, names=names))


@pytest.fixture
def trained(hand_made, tmp_path):
    """The hand-made bundle with a second tap, by which its logits are multiplied."""
    manifest = replace(hand_made.bundle.manifest, adapter_guidance="as_trained")
    for path in hand_made.bundle.root.iterdir():
        (tmp_path / path.name).symlink_to(path)
    model = onnx.load(hand_made.bundle.segmentation_graph)
    graph, node = model.graph, onnx.helper.make_node
    graph.node[-1].output[0] = "raw"
    kind = onnx.TensorProto
    graph.node.extend(
        [
            node("Cast", ["second_tap"], ["factor"], to=kind.FLOAT),
            node("Mul", ["raw", "factor"], ["logits"]),
        ]
    )
    graph.input.append(onnx.helper.make_tensor_value_info("second_tap", kind.INT64, [1]))
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([2]), "second_tap"))
    (tmp_path / "segmentation.onnx").unlink()
    onnx.save(model, tmp_path / "segmentation.onnx")
    return replace(hand_made.bundle, root=tmp_path, manifest=manifest)


def test_the_tap_follows_the_mix(gpu, trained, open_engine, make_set, rgb):
    base = replace(make_set(1), mix=AdapterMix.base_only())
    with (
        open_engine(trained, precision="f32") as engine,
        OnnxEngine(trained, threads=1) as reference,
    ):
        for weight_set in (base, make_set(1), base, make_set(1)):
            for each in (engine, reference):
                serve(each, weight_set)
            np.testing.assert_allclose(engine.logits(rgb), reference.logits(rgb), rtol=1e-5)


def test_a_graph_without_the_tap_that_the_manifest_promises_is_refused(
    gpu, hand_made, open_engine
):
    manifest = replace(hand_made.bundle.manifest, adapter_guidance="as_trained")
    with pytest.raises(BundleError, match="second_tap"):
        open_engine(replace(hand_made.bundle, manifest=manifest))


def test_only_half_and_single_precision_on_cuda(gpu, hand_made, open_engine):
    with pytest.raises(EngineUnavailableError, match="bf16"):
        create_engine("tensorrt", hand_made.bundle, precision="bf16")
    with pytest.raises(EngineUnavailableError, match="cpu"):
        create_engine("tensorrt", hand_made.bundle, device="cpu")


def test_auto_takes_it_only_where_its_plan_was_proven(gpu, hand_made, open_engine):
    with create_engine("auto", hand_made.bundle, threads=1) as engine:
        assert engine.facts.name != "tensorrt"
        assert "semla engine build" in engine.facts.reason
    assert not gpu.networks
    open_engine(hand_made.bundle).close()
    with create_engine("auto", hand_made.bundle, threads=1) as engine:
        facts = engine.facts
        assert (facts.name, facts.precision, facts.device) == ("tensorrt", "f16", "cuda")
        assert "of ONNX Runtime" in engine.facts.reason
        assert "10.13.3.9 Fake GPU" in engine.facts.identity
