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
from semla_ros.core.engines import ENGINES, EngineKind
from semla_ros.core.errors import EngineError, EngineUnavailableError
from semla_ros.core.weights import ArrayWeights
from semla_ros.engine import create_engine, golden
from semla_ros.engine.fake_engine import FakeEngine
from semla_ros.engine.fake_engine import open_engine as fake
from semla_ros.engine.onnx_engine import OnnxEngine
from semla_ros.engine.onnx_engine import open_engine as onnx

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None,
    reason="needs openvino: pip install '.[openvino]'",
)


def never(what):
    def opener(bundle, *, options):
        raise EngineUnavailableError(f"{what} is not here")

    return opener


class Off(OnnxEngine):
    """ONNX Runtime whose answers are wrong by `factor`."""

    factor = 1.0

    def _infer_impl(self, index, rgb):
        return super()._infer_impl(index, rgb) * np.float32(self.factor)


@pytest.fixture
def order(monkeypatch):
    """Return a function that lets `auto` see these engines only, in this order."""

    def set_order(**openers):
        known = {"onnx": ENGINES["onnx"], "off": EngineKind("", {"cpu": ("f32",)}, ("f32",), True)}
        other = EngineKind("", {"cpu": ("f32", "bf16")}, ("auto",))
        kinds = {name: replace(known.get(name, other), module=name) for name in openers}
        monkeypatch.setattr(rooms, "ENGINES", kinds)
        monkeypatch.setattr(rooms, "_opener", lambda kind: openers[kind.module])

    return set_order


def off_by(factor):
    def opener(bundle, *, options):
        engine = Off(bundle, threads=1, reason=options.reason)
        engine.factor = factor
        return engine

    return opener


def test_the_parameter_offers_every_engine_and_no_other():
    assert set(PARAMETERS["engine"].choices) == {"auto", *ENGINES}


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_is_opened_by_its_module(name):
    assert callable(rooms._opener(ENGINES[name]))


def test_the_order_is_tensorrt_openvino_onnx():
    names = [name for name, kind in ENGINES.items() if kind.auto]
    assert names.index("tensorrt") < names.index("openvino") < names.index("onnx")
    assert (ENGINES["openvino"].auto[0], ENGINES["openvino"].golden) == ("bf16", True)
    assert "fake" not in names


def test_auto_goes_on_to_the_next_and_says_why(hand_made, order, caplog):
    order(first=never("the first"), second=never("the second"), fake=fake, onnx=fake)
    with caplog.at_level("INFO"), create_engine("auto", hand_made.bundle) as engine:
        assert engine.facts.name == "fake"
        assert engine.facts.reason == (
            "auto: the first that works here; not the first is not here; not the second is not "
            "here"
        )
    assert engine.facts.reason in caplog.text


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
    order(onnx=onnx, bf16=fake)
    with create_engine("auto", hand_made.bundle, precision="bf16") as engine:
        assert engine.facts.name == "fake"
        assert "'bf16'" in engine.facts.reason


def test_auto_takes_onnx_runtime_where_float32_is_asked_for(hand_made):
    with create_engine("auto", hand_made.bundle, precision="f32") as engine:
        if engine.facts.device == "cuda":
            pytest.skip(f"auto takes {engine.facts.name} here")
        assert (engine.facts.name, engine.facts.precision) == ("onnx", "f32")
        assert "engine 'openvino': expected precision" in engine.facts.reason


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
        assert engine.facts.name not in ("openvino", "fake")
        if "bf16" not in engine.facts.reason:  # on a processor without it, that is the reason
            assert "oneDNN has no primitive" in engine.facts.reason
    with pytest.raises(EngineUnavailableError, match="oneDNN"):
        create_engine("openvino", hand_made.bundle)


@needs_openvino
def test_openvino_under_auto_is_proven(hand_made):
    with create_engine("auto", hand_made.bundle) as engine:
        if engine.facts.name != "openvino":
            pytest.skip(f"auto takes {engine.facts.name} here: {engine.facts.reason}")
        assert engine.facts.precision == "bf16"
        assert "of ONNX Runtime" in engine.facts.reason
        with pytest.raises(EngineError, match="before the first commit"):
            engine.infer(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize("factor", [1.01, np.nan, -1.0])
def test_a_wrong_answer_is_not_trusted(hand_made, order, factor):
    order(off=off_by(factor), fake=fake)
    with create_engine("auto", hand_made.bundle) as engine:
        assert engine.facts.name == "fake"
        assert "relative error" in engine.facts.reason


def test_a_right_answer_is(hand_made, order, caplog):
    order(off=off_by(1.0002), fake=fake)
    with caplog.at_level("INFO"), create_engine("auto", hand_made.bundle) as engine:
        assert type(engine) is Off
        assert "within 0.001 of ONNX Runtime" in engine.facts.reason
    assert "answers within 0.0002" in caplog.text


def test_an_engine_that_fails_on_the_golden_image_is_not_trusted(hand_made, order):
    def opener(bundle, *, options):
        return FakeEngine(feature_dim=32, fail_at=("infer",), reason=options.reason)

    order(off=opener, onnx=fake)
    with create_engine("auto", hand_made.bundle) as engine:
        assert "golden image" in engine.facts.reason


def test_merged_weights_that_are_ignored_are_noticed(hand_made):
    """The golden weights differ from the base at both ends of the network."""
    with OnnxEngine(hand_made.bundle, threads=1) as engine:
        width = engine.facts.feature_dim
        weight_set, image = golden.golden_case(hand_made.bundle, feature_dim=width)
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
        facts = engine.facts
        engine.facts = replace(facts, identity="another processor")
        with pytest.raises(AssertionError, match="measured"):
            golden.require_golden(engine, hashed)
        engine.facts = facts
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
