"""The whole engine on a simulated GPU: every version, both modes, both precisions."""

from dataclasses import replace

import numpy as np
import onnx
import pytest

from semla_ros.engine import create_engine
from semla_ros.engine.base import NOT_PROVED
from semla_ros.engine.onnx_engine import OnnxEngine
from semla_ros.engine.options import EngineOptions
from semla_ros.engine.tensorrt.engine import TensorRtEngine
from semla_ros.engine.tensorrt.options import ClassRange
from semla_ros.engine.tensorrt.settings import TensorRtSettings
from semla_ros.engine.tensorrt.toolkit import Toolkit
from semla_ros.errors import EngineError, EngineUnavailableError, VocabularyError
from semla_ros.types import AdapterMix


def serve(engine, weight_set):
    engine.prepare(weight_set)
    engine.commit()


def answer(engine, rgb):
    return engine.infer(rgb, keep_logits=True).logits


@pytest.mark.parametrize("mode", ["refit", "inputs"])
@pytest.mark.parametrize(("precision", "bound"), [("f32", 1e-5), ("f16", 2e-2)])
def test_it_answers_as_onnx_runtime_does(
    simulation, hand_made, make_set, rgb, mode, precision, bound
):
    with (
        simulation.open(hand_made.bundle, mode=mode, precision=precision) as engine,
        OnnxEngine(hand_made.bundle, threads=1) as reference,
    ):
        for seed, touched in ((1, 2), (2, 1), (3, 0), (1, 2)):
            weight_set = make_set(seed, touched=touched)
            for each in (engine, reference):
                serve(each, weight_set)
            expected = answer(reference, rgb)
            error = np.linalg.norm(answer(engine, rgb) - expected) / np.linalg.norm(expected)
            assert error < bound
    assert simulation.driver.left == (0, 0, 0, 0, 0)


FAULTS = {
    "a part is written and False returned": (["partial"], "refused the weights"),
    "it raises": (["raise"], "CUDA error 719"),
    "it has no effect": (["nothing"], "no effect"),
    "it writes NaN": (["nan"], "not finite"),
    "it fails and so does the way back": (["partial", "raise"], "last good set failed too"),
}


@pytest.mark.parametrize(("faults", "told"), FAULTS.values(), ids=FAULTS)
def test_a_refit_that_fails_leaves_the_old_set_bit_identical(
    simulation, hand_made, make_set, rgb, faults, told
):
    with simulation.open(hand_made.bundle) as engine:
        serve(engine, make_set(1))
        before = answer(engine, rgb)
        for _ in range(3):
            simulation.trt.faults[:] = faults
            with pytest.raises(EngineError, match=told):
                engine.prepare(make_set(2))
            assert not simulation.trt.faults
            np.testing.assert_array_equal(answer(engine, rgb), before)
            with pytest.raises(EngineError, match="without a prepared"):
                engine.commit()
        assert engine.status.state == "ready"
        serve(engine, make_set(2))
        assert not np.array_equal(answer(engine, rgb), before)
        serve(engine, make_set(1))
        np.testing.assert_array_equal(answer(engine, rgb), before)


def test_the_third_failure_freezes_and_the_old_set_serves_on(
    simulation, hand_made, make_set, rgb, caplog
):
    with simulation.open(hand_made.bundle) as engine:
        serve(engine, make_set(1))
        before = answer(engine, rgb)
        simulation.trt.faults[:] = ["partial", "partial", "raise"]
        with pytest.raises(EngineError, match="adaptation is frozen"):
            engine.prepare(make_set(2))
        assert (engine.status.state, engine.status.serving) == ("frozen", "tensorrt")
        for seed in (1, 2):
            with pytest.raises(EngineError, match="adaptation is frozen"):
                engine.prepare(make_set(seed))
        np.testing.assert_array_equal(answer(engine, rgb), before)
        assert engine.infer(rgb).mix == make_set(1).mix
    assert simulation.driver.left == (0, 0, 0, 0, 0)


def test_one_engine_refits_between_frames_and_falls_back_to_the_base(
    recent, hand_made, make_set, rgb
):
    recent.driver.total = 0
    with recent.open(hand_made.bundle) as engine:
        assert engine.status.detail == f"refit, single, {NOT_PROVED}"
        base = replace(make_set(3, touched=0), mix=AdapterMix.base_only())
        serve(engine, base)
        expected = answer(engine, rgb)
        serve(engine, make_set(1))
        before = answer(engine, rgb)
        engine.prepare(make_set(2))
        np.testing.assert_array_equal(answer(engine, rgb), before)
        recent.trt.faults[:] = ["partial"]
        with pytest.raises(EngineError, match="usable again"):
            engine.commit()
        np.testing.assert_array_equal(answer(engine, rgb), before)
        engine.commit()
        assert engine.infer(rgb).mix == make_set(2).mix
        with pytest.raises(EngineError, match="cannot be probed"):
            engine.probe(make_set(1), rgb)
        engine.prepare(make_set(1))
        recent.trt.faults[:] = ["partial"] * 3
        with pytest.raises(EngineError, match="frozen"):
            engine.commit()
        assert engine.status.state == "frozen"
        assert engine.infer(rgb).mix == AdapterMix.base_only()
        np.testing.assert_array_equal(answer(engine, rgb), expected)


def test_one_engine_that_cannot_be_made_anew_says_so_for_every_frame(
    recent, hand_made, make_set, rgb, monkeypatch
):
    recent.driver.total = 0
    with recent.open(hand_made.bundle) as engine:
        serve(engine, make_set(1))
        monkeypatch.setattr(Toolkit, "deserialise", refuse)
        engine.prepare(make_set(2))
        recent.trt.faults[:] = ["partial"] * 3
        with pytest.raises(EngineError):
            engine.commit()
        with pytest.raises(EngineError, match="restart the node"):
            engine.infer(rgb)


def refuse(toolkit, content):
    raise EngineError("out of memory")


@pytest.mark.parametrize(
    "fails", ["cuMemAlloc_v2", "cuMemHostAlloc", "cuStreamCreateWithPriority"]
)
def test_a_gpu_that_is_full_is_said_and_leaks_nothing(recent, hand_made, fails):
    recent.open(hand_made.bundle).close()
    recent.driver.fail[fails] = 2
    with pytest.raises(EngineUnavailableError, match=rf"{fails}.*OUT_OF_MEMORY.*engine 'onnx'"):
        recent.open(hand_made.bundle, build=False)
    assert recent.driver.left == (0, 0, 0, 0, 0)


def test_without_a_plan_the_message_tells_how_to_build_one(recent, hand_made):
    with pytest.raises(EngineUnavailableError, match=r"plan of segmentation.*semla engine build"):
        recent.open(hand_made.bundle, build=False)
    assert recent.driver.left == (0, 0, 0, 0, 0)


def test_a_plan_is_built_once_and_found_again(recent, hand_made):
    for build in (True, False, False):
        recent.open(hand_made.bundle, build=build).close()
    assert len(recent.trt.built) == 1


def test_the_newest_plan_that_takes_the_classes_is_found(recent, hand_made):
    for classes, mode in ((ClassRange.exactly(9), "refit"), (ClassRange(2, 4, 8), "inputs")):
        recent.open(hand_made.bundle, classes=classes, mode=mode).close()
    with recent.open(hand_made.bundle, classes=None, build=False) as engine:
        assert engine.status.detail == f"inputs, inputs, {NOT_PROVED}"
        assert engine.max_classes == 8
    with pytest.raises(EngineUnavailableError, match="found none"):
        recent.open(hand_made.bundle, classes=None, build=False, mode="refit")


def test_a_plan_that_the_runtime_refuses_is_built_once_more(recent, hand_made):
    recent.open(hand_made.bundle).close()
    refuse = [None]
    real = recent.trt.Runtime.deserialize_cuda_engine

    def sometimes(runtime, plan):
        return refuse.pop() if refuse else real(runtime, plan)

    recent.trt.Runtime.deserialize_cuda_engine = sometimes
    with recent.open(hand_made.bundle):
        assert len(recent.trt.built) == 2
    refuse[:] = [None]
    with pytest.raises(EngineUnavailableError, match="refuses the plan"):
        recent.open(hand_made.bundle, build=False)
    with pytest.raises(EngineUnavailableError, match="found none"):
        recent.open(hand_made.bundle, build=False)
    refuse[:] = [None, None]
    with pytest.raises(EngineUnavailableError, match="refuses the plan"):
        recent.open(hand_made.bundle)
    assert recent.driver.left == (0, 0, 0, 0, 0)


@pytest.mark.parametrize("fault", ["nothing", "residue", "nan"])
def test_an_engine_that_refits_wrongly_is_refused_at_the_start(recent, hand_made, fault):
    recent.trt.faults[:] = [fault]
    with pytest.raises(EngineUnavailableError, match=r"nudged weights.*--mode inputs"):
        recent.open(hand_made.bundle)
    assert recent.driver.left == (0, 0, 0, 0, 0)


def test_a_dropped_bias_is_noticed_without_any_refit(recent, hand_made, monkeypatch):
    """TensorRT 11.3 warns of a GEMM bias that a refittable engine treats as zero."""
    real = recent.trt.ICudaEngine.__init__

    def drops(engine, header, model):
        model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.float32(900), "white"))
        real(engine, header, model)

    monkeypatch.setattr(recent.trt.ICudaEngine, "__init__", drops)
    for mode in ("refit", "inputs"):
        with pytest.raises(EngineUnavailableError, match="differs from the reference"):
            recent.open(hand_made.bundle, mode=mode)


def test_weights_that_tensorrt_combined_with_ours_are_named(recent, hand_made):
    recent.trt.combined["fc1"] = ["bias of the layer"]
    with pytest.raises(EngineUnavailableError, match=r"misses weights.*bias of the layer"):
        recent.open(hand_made.bundle)


def test_other_class_counts_than_the_plans_are_refused_with_the_remedy(
    recent, hand_made, make_set
):
    with recent.open(hand_made.bundle, classes=ClassRange(3, 4, 5)) as engine:
        for names in (("road", "sky"), tuple(f"class {i}" for i in range(6))):
            with pytest.raises(VocabularyError, match=rf"3:4:5.*--classes {len(names)}"):
                engine.prepare(make_set(1, names=names))


def test_only_half_and_single_precision_on_cuda(recent, hand_made):
    with pytest.raises(EngineUnavailableError, match="bf16"):
        recent.open(hand_made.bundle, precision="bf16")
    with pytest.raises(EngineUnavailableError, match="cpu"):
        TensorRtEngine.open(hand_made.bundle, options=EngineOptions(device="cpu"))


def test_auto_takes_it_first_and_holds_it_against_onnx_runtime(recent, hand_made):
    options = EngineOptions(threads=1, precision="f16")
    settings = TensorRtSettings(build=True)  # in the folder where create_engine looks
    TensorRtEngine.open(hand_made.bundle, options=options, settings=settings).close()
    with create_engine("auto", hand_made.bundle, threads=1) as engine:
        assert (engine.name, engine.precision, engine.device) == ("tensorrt", "f16", "cuda")
        assert "of ONNX Runtime" in engine.reason
        assert "10.13.3.9 Fake GPU" in engine.identity


def test_the_frame_loop_only_enqueues(recent, hand_made, make_set, rgb):
    """On the frames' stream: copy in, run, copy out, wait; no allocation, no refit."""
    with recent.open(hand_made.bundle) as engine:
        serve(engine, make_set(1))
        engine.infer(rgb)
        recent.driver.calls.clear()
        engine.infer(rgb)
        assert [call for call in recent.driver.calls if call != "cuCtxSetCurrent"] == [
            "cuMemcpyHtoDAsync_v2",
            "cuMemcpyDtoHAsync_v2",
            "cuStreamSynchronize",
        ]
        recent.driver.calls.clear()
        engine.prepare(make_set(2))
        assert not [call for call in recent.driver.calls if "Alloc" in call or "Free" in call]
        priorities = sorted(recent.driver.streams.values())
        assert priorities == [-5, 0]
