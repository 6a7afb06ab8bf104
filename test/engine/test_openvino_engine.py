"""OpenVINO beside the same network in numpy and beside ONNX Runtime, and how it fails."""

import importlib.util
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

if importlib.util.find_spec("openvino") is None:  # importing it here would let it call home
    pytest.skip("needs openvino: pip install '.[openvino]'", allow_module_level=True)

from semla_ros.bundle import ModelBundle, SegmentationSpec, open_bundle
from semla_ros.core.errors import BundleError, EngineError, EngineUnavailableError
from semla_ros.core.types import AdapterMix, Vocabulary
from semla_ros.core.weights import UNCHANGED, WeightSet
from semla_ros.engine import EngineOptions, openvino_graph
from semla_ros.engine.golden import golden_case, relative_error
from semla_ros.engine.onnx_engine import OnnxEngine
from semla_ros.engine.openvino_engine import OpenVinoEngine

ROOT = Path(__file__).parents[2]
F32_BOUND = 1e-3
BF16_BOUND = 0.02


def opened(bundle, precision="f32", threads=1):
    """Return the engine, or skip where this processor has not the precision."""
    try:
        return OpenVinoEngine(bundle, options=EngineOptions(threads, precision))
    except EngineUnavailableError as error:
        if "expected a CPU with" in str(error):
            pytest.skip(str(error))
        raise


def serve(engine, weight_set):
    engine.prepare(weight_set)
    engine.commit()


def logits_of(engine, weight_set, rgb):
    serve(engine, weight_set)
    return engine.logits(rgb)


@pytest.fixture(scope="module")
def demo() -> ModelBundle:
    root = ROOT / "models" / "demo"
    if not (root / "bundle.yaml").is_file():
        pytest.skip("models/demo is missing")
    return open_bundle(root)


def test_logits_equal_the_same_network_in_numpy(hand_made, make_set, rgb):
    with opened(hand_made.bundle) as engine:
        for seed, touched in ((1, 2), (2, 1), (3, 0)):
            weight_set = make_set(seed, touched=touched)
            expected = hand_made.logits(rgb, weight_set.weights.arrays, weight_set.text_features)
            np.testing.assert_allclose(logits_of(engine, weight_set, rgb), expected, atol=2e-5)


@pytest.mark.parametrize("which", ["tiny", "demo"])
def test_float32_is_within_a_thousandth_of_onnx_runtime(which, request):
    bundle = request.getfixturevalue(which)
    with opened(bundle) as engine, OnnxEngine(bundle, threads=1) as reference:
        weight_set, image = golden_case(bundle, feature_dim=engine.facts.feature_dim)
        for each in (weight_set, replace(weight_set, weights=UNCHANGED)):
            difference = logits_of(engine, each, image) - logits_of(reference, each, image)
            assert np.abs(difference).max() <= F32_BOUND


@pytest.mark.parametrize("which", ["tiny", "demo"])
def test_bfloat16_is_within_two_percent_of_onnx_runtime(which, request):
    bundle = request.getfixturevalue(which)
    with opened(bundle, "bf16") as engine, OnnxEngine(bundle, threads=1) as reference:
        assert engine.facts.precision == "bf16"
        weight_set, image = golden_case(bundle, feature_dim=engine.facts.feature_dim)
        got, expected = (logits_of(e, weight_set, image) for e in (engine, reference))
        error = relative_error(got, expected)
        assert 1e-6 < error <= BF16_BOUND, "bf16 must be at work, and near"
        agreement = (got.argmax(0) == expected.argmax(0)).mean()
        assert agreement > 0.95, agreement


@pytest.mark.parametrize("classes", [1, 5, 300])
def test_any_number_of_classes(tiny, classes):
    names = Vocabulary(tuple(f"c{i}" for i in range(classes)), np.zeros((classes, 3), np.uint8))
    text = np.random.default_rng(0).standard_normal((classes, 32)).astype(np.float32)
    weight_set = WeightSet(AdapterMix.base_only(), UNCHANGED, text, names)
    image = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    with opened(tiny) as engine, OnnxEngine(tiny, threads=1) as reference:
        got, expected = (logits_of(e, weight_set, image) for e in (engine, reference))
        np.testing.assert_allclose(got, expected, atol=F32_BOUND)


def test_the_second_tap_follows_the_mix(tiny_as_trained):
    bundle = tiny_as_trained
    image = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    text = np.random.default_rng(0).standard_normal((2, 32)).astype(np.float32)
    names = Vocabulary(("a", "b"), np.zeros((2, 3), np.uint8))
    answers = []
    with opened(bundle) as engine, OnnxEngine(bundle, threads=1) as reference:
        for mix in (AdapterMix.base_only(), AdapterMix(("fog",), (1.0,)), AdapterMix.base_only()):
            weight_set = WeightSet(mix, UNCHANGED, text, names)
            got, expected = (logits_of(e, weight_set, image) for e in (engine, reference))
            np.testing.assert_allclose(got, expected, atol=F32_BOUND)
            answers.append(got)
    assert np.abs(answers[0] - answers[1]).max() > F32_BOUND
    np.testing.assert_array_equal(answers[0], answers[2])


@pytest.fixture(scope="module")
def tiny_as_trained(tiny, tmp_path_factory):
    """Return the tiny bundle with its graph exported anew, the second tap an input."""
    pytest.importorskip("torch", reason="needs PyTorch to export a graph")
    from semla_ros.engine.torch_engine import load_network
    from semla_ros.network.layers import adaptable_layers
    from semla_ros.prepare.bundler.onnx_export import export_segmentation

    root = tmp_path_factory.mktemp("as_trained")
    for path in tiny.root.iterdir():
        if path.is_file():
            (root / path.name).write_bytes(path.read_bytes())
    model = load_network(tiny)
    names = {layer.name for layer in tiny.manifest.layers}
    layers = [layer for layer in adaptable_layers(model.config) if layer.name in names]
    export_segmentation(model, root / "segmentation.onnx", layers, choose_tap=True)
    return ModelBundle(root, replace(tiny.manifest, adapter_guidance="as_trained", files={}))


def test_weights_in_a_file_of_their_own(hand_made, make_set, rgb, tmp_path):
    """As graphs above 2 GB must have them."""
    for path in hand_made.bundle.root.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    model = onnx.load(tmp_path / "segmentation.onnx")
    external = {"location": "segmentation.onnx.data", "size_threshold": 0}
    onnx.save(model, tmp_path / "segmentation.onnx", save_as_external_data=True, **external)
    assert (tmp_path / "segmentation.onnx.data").stat().st_size > 1000
    weight_set = make_set(1, touched=1)
    with opened(ModelBundle(tmp_path, hand_made.bundle.manifest)) as engine:
        expected = hand_made.logits(rgb, weight_set.weights.arrays, weight_set.text_features)
        np.testing.assert_allclose(logits_of(engine, weight_set, rgb), expected, atol=2e-5)


def test_nothing_is_compiled_outside_prepare(hand_made, make_set, rgb, monkeypatch):
    with opened(hand_made.bundle) as engine:
        compiled = []
        whole = engine._networks._compiled
        monkeypatch.setattr(
            engine._networks, "_compiled", lambda n: (compiled.append(n), whole(n))[1]
        )
        serve(engine, make_set(1))
        engine.infer(rgb)
        assert compiled == [], "the bundle's own class list is compiled when the engine is made"
        engine.prepare(make_set(2, names=("road", "sky")))
        assert compiled == [2]
        engine.commit()
        engine.infer(rgb)
        serve(engine, make_set(3, names=("car", "tree")))
        assert compiled == [2], "both slots share a network"


def test_only_networks_in_use_are_kept(hand_made, make_set):
    with opened(hand_made.bundle) as engine:
        for count in (1, 2, 3):
            serve(engine, make_set(1, names=("road", "sky", "car")[:count]))
        assert set(engine._networks._by_classes) == {2, 3}


def test_sets_that_fail_leave_no_networks_behind(hand_made, make_set, monkeypatch):
    def breaking(weights):
        raise EngineError("the adapter file is gone")

    with opened(hand_made.bundle) as engine:
        serve(engine, make_set(1))
        for slot in engine._slots:
            monkeypatch.setattr(slot._inputs._buffers, "fill", breaking)
        for count in range(3, 8):
            with pytest.raises(EngineError, match="gone"):
                engine.prepare(make_set(2, names=tuple("abcdefgh"[:count])))
            assert len(engine._networks._by_classes) <= 2


def test_a_class_list_that_does_not_compile_leaves_the_old_one(
    hand_made, make_set, rgb, monkeypatch
):
    with opened(hand_made.bundle) as engine:
        serve(engine, make_set(1))
        before = engine.logits(rgb)

        def fail(classes):
            raise EngineError("does not compile")

        monkeypatch.setattr(engine._networks, "_compiled", fail)
        with pytest.raises(EngineError, match="does not compile"):
            engine.prepare(make_set(2, names=("road", "sky")))
        np.testing.assert_array_equal(engine.logits(rgb), before)


def edited(bundle, tmp_path, edit):
    """Return a copy of `bundle` whose segmentation graph went through `edit`."""
    for path in bundle.root.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    model = onnx.load(tmp_path / "segmentation.onnx")
    edit(model.graph)
    onnx.save(model, tmp_path / "segmentation.onnx")
    return ModelBundle(tmp_path, bundle.manifest)


def test_graphs_that_do_not_fit_are_refused(hand_made, tmp_path):
    def rename(graph):
        graph.output[0].name = graph.node[-1].output[0] = "scores"

    with pytest.raises(BundleError, match="scores"):
        opened(edited(hand_made.bundle, tmp_path, rename))
    manifest = hand_made.bundle.manifest
    wrong = replace(manifest.layers[0], initializer="fc9")
    turned = replace(manifest.layers[0], transposed=False)
    for words, change in (
        ("image", {"segmentation": SegmentationSpec(32)}),
        ("'fc9'", {"layers": (wrong, *manifest.layers[1:])}),
        ("'fc1' of shape", {"layers": (turned, *manifest.layers[1:])}),
    ):
        with pytest.raises(BundleError, match=words):
            opened(ModelBundle(hand_made.bundle.root, replace(manifest, **change)))


def test_missing_and_unreadable_graphs_are_refused(hand_made, tmp_path):
    copy = edited(hand_made.bundle, tmp_path, lambda graph: None)
    copy.segmentation_graph.write_bytes(b"\x08 no graph")
    with pytest.raises(EngineUnavailableError, match="does not read"):
        opened(copy)
    copy.segmentation_graph.unlink()
    with pytest.raises(BundleError, match="found none"):
        opened(copy)


def test_a_promised_tap_must_be_there(hand_made):
    manifest = replace(hand_made.bundle.manifest, adapter_guidance="as_trained")
    with pytest.raises(BundleError, match="second_tap"):
        opened(replace(hand_made.bundle, manifest=manifest))


class OldProcessor:
    """A core whose CPU multiplies float32 only."""

    def get_property(self, device, name):
        return ["FP32", "INT8"]


@pytest.mark.parametrize(("asked", "got"), [("auto", "f32"), ("f32", "f32")])
def test_a_processor_without_bfloat16_multiplies_float32(asked, got):
    old = openvino_graph.OpenVino(None, OldProcessor())
    assert openvino_graph.resolved_precision(old, asked) == got


@pytest.mark.parametrize("asked", ["bf16", "f16"])
def test_an_explicit_precision_that_the_processor_lacks_fails(asked):
    old = openvino_graph.OpenVino(None, OldProcessor())
    with pytest.raises(EngineUnavailableError, match=rf"'{asked}'.*\['f32'\]"):
        openvino_graph.resolved_precision(old, asked)


def test_a_broken_installation_is_named(hand_made, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", types.ModuleType("openvino"))
    with pytest.raises(EngineUnavailableError, match=r"AttributeError.*'\.\[openvino\]"):
        opened(hand_made.bundle)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(EngineUnavailableError, match="pip install"):
        opened(hand_made.bundle)


def test_threads_are_those_asked_for(hand_made):
    with opened(hand_made.bundle, threads=2) as engine:
        compiled = engine._networks.get(4).compiled
        assert compiled.get_property("INFERENCE_NUM_THREADS") == 2
        assert compiled.get_property("ENABLE_CPU_PINNING") is False


def test_openvino_calls_nobody():
    code = (
        "import sys; from semla_ros.engine.openvino_graph import open_core; open_core();"
        "assert not any('telemetry.backend' in m for m in sys.modules), sys.modules.keys();"
        "assert 'openvino_telemetry' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
