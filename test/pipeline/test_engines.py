"""Which engines a configuration gets, with a scripted GPU and without one."""

import threading

import numpy as np
import pytest
from scripted_gpu import install
from small_bundle import small_bundle

from semla_ros.bundle import open_bundle
from semla_ros.core.config import Config
from semla_ros.core.errors import EngineUnavailableError
from semla_ros.core.types import AdapterMix, Frame
from semla_ros.core.weights import UNCHANGED, ArrayWeights
from semla_ros.engine.openvino_clip import OpenVinoRunner, OpenVinoTextTower
from semla_ros.engine.options import EngineOptions
from semla_ros.engine.tensorrt import build
from semla_ros.engine.tensorrt.engine import TensorRtEngine
from semla_ros.engine.tensorrt.runner import TensorRtRunner
from semla_ros.engine.text import TextEncoder
from semla_ros.navigator.encoder import OnnxImageEncoder, RunnerImageEncoder
from semla_ros.pipeline import build_pipeline
from semla_ros.pipeline.engines import open_encoder, open_engine, open_text_tower

WAIT_S = 30


@pytest.fixture
def root(tmp_path):
    return small_bundle(tmp_path / "bundle")


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """TensorRT 10.13; plans go to the user's cache folder, which is in `tmp_path`."""
    return install(monkeypatch, tmp_path)


def config(root, **changes):
    return Config(**{"bundle": str(root), "engine": "tensorrt", "threads": 1} | changes)


def frame(stamp_ns=0):
    rgb = np.random.default_rng(3).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    return Frame(stamp_ns, "camera", rgb)


def until(condition):
    pause = threading.Event()
    for _ in range(WAIT_S * 100):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it did not happen in time")


def test_the_pipeline_serves_while_the_plan_is_built_and_keeps_its_mix(root, gpu, monkeypatch):
    go = threading.Event()
    real = build.build_plan

    def slow(*arguments, **options):
        assert go.wait(WAIT_S)
        return real(*arguments, **options)

    monkeypatch.setattr(build, "build_plan", slow)
    with build_pipeline(config(root, swap_policy="never")) as pipeline:
        assert pipeline.engine.status.state == "building"
        assert pipeline.engine.status.serving != "tensorrt"
        pinned = pipeline.pin(AdapterMix(("fog",), (1.0,)))
        until(lambda: pipeline.poll(0) or pinned.done())
        before = pipeline.step(frame())
        assert before.mix.names == ("fog",)
        go.set()
        until(lambda: pipeline.engine.status.serving == "tensorrt")
        after = pipeline.step(frame(1))
        assert pipeline.engine.status.state == "ready"
        assert after.mix == before.mix
        assert (after.labels == before.labels).mean() > 0.95
        pipeline.unpin()
    assert gpu.driver.left == (0, 0, 0, 0)


def test_a_build_that_fails_leaves_the_other_engine_serving(root, gpu):
    gpu.refuse.append("parse_from_file")
    with build_pipeline(config(root)) as pipeline:
        until(lambda: pipeline.engine.status.state == "ready")
        assert "cannot parse" in pipeline.engine.status.detail
        assert pipeline.step(frame()).labels.shape == (32, 32)


def test_never_building_refuses(root, gpu):
    with pytest.raises(EngineUnavailableError, match="semla engine build"):
        open_engine(config(root, tensorrt_build="never"), open_bundle(root))


def test_auto_builds_nothing_and_takes_another(root, gpu):
    with open_engine(config(root, engine="auto"), open_bundle(root)) as engine:
        assert engine.facts.name not in ("tensorrt", "deferred")
        assert "semla engine build" in engine.facts.reason
    assert not gpu.networks


def test_replay_never_changes_engines_midway(root, gpu):
    with pytest.raises(EngineUnavailableError, match="semla engine build"):
        open_engine(config(root, adaptation="inline"), open_bundle(root))


def test_a_plan_that_is_there_is_taken_at_once(root, gpu):
    bundle = open_bundle(root)
    TensorRtEngine.open(bundle, options=EngineOptions(threads=1), build=True).close()
    for engine in ("tensorrt", "auto"):
        with open_engine(config(root, engine=engine), bundle) as opened:
            assert opened.status.serving == "tensorrt"


def test_the_navigator_takes_tensorrt_where_its_plan_is(root, gpu):
    bundle = open_bundle(root)
    assert isinstance(open_encoder(config(root), bundle), OnnxImageEncoder)
    with pytest.raises(EngineUnavailableError, match="plan of navigator"):
        open_encoder(config(root, navigator_engine="tensorrt"), bundle)
    TensorRtRunner.open(bundle, build=True).close()
    for asked in ("auto", "tensorrt"):
        encoder = open_encoder(config(root, navigator_engine=asked), bundle)
        assert type(encoder) is RunnerImageEncoder
        assert encoder.encode(frame().rgb).shape == (3,)
    assert isinstance(
        open_encoder(config(root, navigator_engine="onnx"), bundle), OnnxImageEncoder
    )


@pytest.fixture
def no_gpu(monkeypatch, tmp_path):
    pytest.importorskip("openvino", reason="it is what is tested")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_the_navigator_embeds_in_openvino_as_in_onnx_runtime(root, no_gpu):
    bundle = open_bundle(root)
    got = open_encoder(config(root, navigator_engine="openvino"), bundle)
    expected = OnnxImageEncoder(bundle, threads=1)
    assert type(got) is RunnerImageEncoder
    assert got.identity == expected.identity
    np.testing.assert_allclose(got.encode(frame().rgb), expected.encode(frame().rgb), rtol=2e-2)


def test_a_navigator_that_answers_otherwise_is_refused_by_name(root, no_gpu, monkeypatch):
    bundle = open_bundle(root)
    real = OpenVinoRunner.__call__
    monkeypatch.setattr(OpenVinoRunner, "__call__", lambda run, image: real(run, image) * 1.1)
    with pytest.raises(EngineUnavailableError, match=r"relative error of 0\.1: take nav"):
        open_encoder(config(root, navigator_engine="openvino"), bundle)


@pytest.mark.parametrize(("has", "kind"), [(True, RunnerImageEncoder), (False, OnnxImageEncoder)])
def test_auto_takes_openvino_for_its_bfloat16_only(root, no_gpu, monkeypatch, has, kind):
    def resolved(_, asked):
        assert asked == "bf16"
        if not has:
            raise EngineUnavailableError("no bf16")
        return "f32"  # what every CPU can compute

    monkeypatch.setattr("semla_ros.engine.openvino_clip.resolved_precision", resolved)
    assert type(open_encoder(config(root, navigator_engine="auto"), open_bundle(root))) is kind


def test_class_names_are_encoded_in_openvino_as_in_onnx_runtime(root, no_gpu):
    bundle = open_bundle(root)
    tower = open_text_tower(config(root, navigator_engine="openvino"), bundle)
    rng = np.random.default_rng(0)
    merged = {
        layer.name: rng.standard_normal(layer.shape).astype(np.float32)
        for layer in bundle.manifest.layers
        if layer.graph == "text"
    }
    assert merged
    for weights in (UNCHANGED, ArrayWeights(merged)):
        got, expected = (
            TextEncoder(bundle, tower=t).encode(bundle.manifest.vocabulary, weights)
            for t in (tower, None)
        )
        np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_text_tower_that_answers_otherwise_is_refused_by_name(root, no_gpu, monkeypatch):
    real = OpenVinoTextTower.__call__
    monkeypatch.setattr(OpenVinoTextTower, "__call__", lambda *given: real(*given) * 1.1)
    with pytest.raises(EngineUnavailableError, match=r"relative error of 0\.1: take nav"):
        open_text_tower(config(root, navigator_engine="openvino"), open_bundle(root))


def test_class_names_stay_in_onnx_runtime_without_bfloat16(root, no_gpu, monkeypatch):
    def refused(*_):
        raise EngineUnavailableError("no bf16")

    monkeypatch.setattr("semla_ros.engine.openvino_clip.resolved_precision", refused)
    for asked in ("auto", "onnx", "tensorrt"):
        assert open_text_tower(config(root, navigator_engine=asked), open_bundle(root)) is None


def test_without_a_gpu_auto_asks_for_nothing(root, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with build_pipeline(config(root, engine="onnx")) as pipeline:
        assert pipeline.engine.status.state == "ready"
        assert pipeline.engine.status.serving == "onnx"
