"""What `engine: auto` takes, what it says about it, and that an explicit choice never degrades."""

import importlib.util
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import semla_ros.engine as rooms
from semla_ros.core.config import PARAMETERS
from semla_ros.core.errors import EngineError, EngineUnavailableError
from semla_ros.core.weights import ArrayWeights
from semla_ros.engine import ENGINES, PREFERENCES, Preference, create_engine, golden
from semla_ros.engine.fake_engine import FakeEngine
from semla_ros.engine.onnx_engine import OnnxEngine

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None,
    reason="needs openvino: pip install 'semla-ros[openvino]'",
)


def never(what):
    def opener(bundle, *, options):
        raise EngineUnavailableError(f"{what} is not here")

    return opener


class Off(OnnxEngine):
    """ONNX Runtime whose answers are wrong by `factor`."""

    name = "off"
    factor = 1.0

    def _infer_impl(self, index, rgb):
        return super()._infer_impl(index, rgb) * np.float32(self.factor)


@pytest.fixture
def order(monkeypatch):
    """Return a function that lets `auto` see these engines only, in this order."""

    def set_order(**engines):
        monkeypatch.setattr(rooms, "ENGINES", engines)
        made = tuple(Preference(name, golden=name == "off") for name in engines)
        monkeypatch.setattr(rooms, "PREFERENCES", made)

    return set_order


def off_by(factor):
    def opener(bundle, *, options):
        engine = Off(bundle, threads=1)
        engine.factor = factor
        return engine

    return opener


def fake(bundle, *, options):
    return FakeEngine.open(bundle, threads=1)


def test_the_parameter_offers_every_engine_and_no_other():
    assert set(PARAMETERS["engine"].choices) == {"auto", *ENGINES}
    assert {each.engine for each in PREFERENCES} <= set(ENGINES) - {"fake"}


def test_the_order_is_tensorrt_openvino_onnx():
    names = [each.engine for each in PREFERENCES]
    assert names.index("tensorrt") < names.index("openvino") < names.index("onnx")
    (openvino,) = [each for each in PREFERENCES if each.engine == "openvino"]
    assert (openvino.precisions[0], openvino.golden) == ("bf16", True)


def test_auto_goes_on_to_the_next_and_says_why(hand_made, order, caplog):
    order(first=never("the first"), second=never("the second"), fake=fake, onnx=fake)
    with caplog.at_level("INFO"), create_engine("auto", hand_made.bundle) as engine:
        assert engine.name == "fake"
        assert engine.reason == (
            "auto: the first that works here; not the first is not here; not the second is not "
            "here"
        )
    assert engine.reason in caplog.text


def test_auto_without_any_names_all(hand_made, order):
    order(first=never("the first"), second=never("the second"))
    with pytest.raises(EngineUnavailableError, match=r"the first.*the second"):
        create_engine("auto", hand_made.bundle)


def test_an_explicit_engine_never_degrades(hand_made, order):
    order(first=never("the first"), fake=fake)
    with pytest.raises(EngineUnavailableError, match="the first is not here"):
        create_engine("first", hand_made.bundle)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("onnx", {"precision": "bf16"}),
        ("onnx", {"precision": "f16"}),
        ("onnx", {"device": "cuda"}),
        ("openvino", {"device": "cuda"}),
        ("torch", {"precision": "f16"}),
        ("fake", {"precision": "bf16"}),
    ],
)
def test_an_explicit_precision_or_device_that_cannot_be_met_fails(hand_made, name, change):
    ((what, asked),) = change.items()
    with pytest.raises(EngineUnavailableError, match=f"{what}.*{asked}"):
        create_engine(name, hand_made.bundle, **change)


def test_a_gpu_that_is_not_there_is_named(network_bundle):
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(EngineUnavailableError, match=r"NVIDIA GPU.*PyTorch \d"):
        create_engine("torch", network_bundle, device="cuda")


def test_auto_looks_for_an_engine_with_the_precision_that_is_asked_for(hand_made, order):
    order(onnx=ENGINES["onnx"], fake=fake)
    with create_engine("auto", hand_made.bundle, precision="bf16") as engine:
        assert engine.name == "fake"
        assert "'bf16'" in engine.reason


def test_auto_takes_onnx_runtime_where_float32_is_asked_for(hand_made):
    with create_engine("auto", hand_made.bundle, precision="f32") as engine:
        if engine.device == "cuda":
            pytest.skip(f"auto takes {engine.name} here")
        assert (engine.name, engine.precision) == ("onnx", "f32")
        assert "engine 'openvino': expected precision" in engine.reason


@needs_openvino
def test_auto_falls_back_from_a_half_broken_openvino(hand_made, monkeypatch):
    from semla_ros.engine import openvino_graph

    def fail(*args, **kwargs):
        raise RuntimeError("oneDNN has no primitive for this")

    real = openvino_graph.open_core()

    class Core:
        def __getattr__(self, name):
            return fail if name == "compile_model" else getattr(real.core, name)

    broken = openvino_graph.OpenVino(real.module, Core())
    monkeypatch.setattr("semla_ros.engine.openvino_engine.open_core", lambda: broken)
    with create_engine("auto", hand_made.bundle) as engine:
        assert engine.name not in ("openvino", "fake")
        if "bf16" not in engine.reason:  # on a processor without it, that is the reason
            assert "oneDNN has no primitive" in engine.reason
    with pytest.raises(EngineUnavailableError, match="oneDNN"):
        create_engine("openvino", hand_made.bundle)


@needs_openvino
def test_openvino_under_auto_is_proven(hand_made):
    with create_engine("auto", hand_made.bundle) as engine:
        if engine.name != "openvino":
            pytest.skip(f"auto takes {engine.name} here: {engine.reason}")
        assert engine.precision == "bf16"
        assert "of ONNX Runtime" in engine.reason
        with pytest.raises(EngineError, match="before the first commit"):
            engine.infer(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize("factor", [1.01, np.nan, -1.0])
def test_a_wrong_answer_is_not_trusted(hand_made, order, factor):
    order(off=off_by(factor), fake=fake)
    with create_engine("auto", hand_made.bundle) as engine:
        assert engine.name == "fake"
        assert "relative error" in engine.reason


def test_a_right_answer_is(hand_made, order):
    order(off=off_by(1.0002), fake=fake)
    with create_engine("auto", hand_made.bundle) as engine:
        assert engine.name == "off"
        assert "within 0.0002 of ONNX Runtime" in engine.reason


def test_an_engine_that_fails_on_the_golden_image_is_not_trusted(hand_made, order):
    def opener(bundle, *, options):
        engine = FakeEngine.open(bundle, threads=1)
        engine.feature_dim = 32
        engine.fail_at = ("infer",)
        return engine

    order(off=opener, onnx=fake)
    with create_engine("auto", hand_made.bundle) as engine:
        assert "golden image" in engine.reason


def test_merged_weights_that_are_ignored_are_noticed(hand_made):
    """The golden weights differ from the base at both ends of the network."""
    with OnnxEngine(hand_made.bundle, threads=1) as engine:
        weight_set, image = golden.golden_case(hand_made.bundle, feature_dim=engine.feature_dim)
        right = engine.probe(weight_set, image)
        for name in weight_set.weights.names:
            arrays = weight_set.weights.arrays
            rest = ArrayWeights({n: w for n, w in arrays.items() if n != name})
            wrong = engine.probe(replace(weight_set, weights=rest), image)
            assert golden.relative_error(wrong, right) > max(golden.BOUNDS.values()), name


@pytest.fixture
def hashed(hand_made):
    """Return the bundle with hashes: a verdict is kept only for known files."""
    manifest = replace(hand_made.bundle.manifest, files={"segmentation.onnx": "ab" * 32})
    return replace(hand_made.bundle, manifest=manifest)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "semla_ros" / "golden"


def test_the_verdict_is_kept_for_the_same_model_and_engine_only(hashed, cache, monkeypatch):
    with OnnxEngine(hashed, threads=1) as engine:
        first = golden.require_golden(engine, hashed)
        (file,) = cache.iterdir()
        assert json.loads(file.read_text()) == {"relative_error": first}
        monkeypatch.setattr(golden, "_measured", never_measured)
        assert golden.require_golden(engine, hashed) == first
        engine.identity = "another processor"
        with pytest.raises(AssertionError, match="measured"):
            golden.require_golden(engine, hashed)
        engine.identity = ""
        other = replace(
            hashed, manifest=replace(hashed.manifest, files={"segmentation.onnx": "c"})
        )
        with pytest.raises(AssertionError, match="measured"):
            golden.require_golden(engine, other)


def never_measured(engine, bundle):
    raise AssertionError("measured again")


def test_nothing_is_kept_of_a_bundle_without_hashes(hand_made, cache):
    with OnnxEngine(hand_made.bundle, threads=1) as engine:
        golden.require_golden(engine, hand_made.bundle)
    assert not cache.exists()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"relative_error": "0"}', "x" * 5000])
def test_a_damaged_verdict_is_found_again(hashed, cache, text):
    with OnnxEngine(hashed, threads=1) as engine:
        golden.require_golden(engine, hashed)
        (file,) = cache.iterdir()
        file.write_text(text)
        assert golden.require_golden(engine, hashed) == 0.0
        assert json.loads(file.read_text()) == {"relative_error": 0.0}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_costs_time_only(hashed, cache):
    Path(cache.parents[1]).chmod(0o500)
    with OnnxEngine(hashed, threads=1) as engine:
        assert golden.require_golden(engine, hashed) == 0.0


def test_a_file_in_the_place_of_the_folder_costs_time_only(hashed, cache):
    cache.parent.write_text("no folder")
    with OnnxEngine(hashed, threads=1) as engine:
        assert golden.require_golden(engine, hashed) == 0.0
