"""Choosing an engine, and that the choice does not change the answer."""

from dataclasses import replace

import numpy as np
import pytest

from semla_ros.core.engines import ENGINES
from semla_ros.core.errors import BundleError, EngineUnavailableError, VocabularyError
from semla_ros.core.types import AdapterMix, Vocabulary
from semla_ros.core.weights import UNCHANGED, ArrayWeights, WeightSet
from semla_ros.engine import create_engine

DIM = 32


def serve(engine, weight_set):
    engine.prepare(weight_set)
    engine.commit()


def answer(engine, rgb):
    return engine.infer(rgb, keep_logits=True).logits


def test_an_unknown_engine_is_refused_with_the_choices(hand_made):
    with pytest.raises(EngineUnavailableError, match="onnx"):
        create_engine("tensorflow", hand_made.bundle)


def test_auto_takes_one_that_works(hand_made):
    with create_engine("auto", hand_made.bundle) as engine:
        assert engine.facts.name in ENGINES
        assert engine.facts.reason.startswith("auto: ")


def test_onnx_and_torch_agree_on_the_same_bundle(tiny, rgb):
    """The reference network and the exported graph, base weights and merged ones."""
    pytest.importorskip("torch", reason="engine torch needs PyTorch")
    names = tiny.manifest.vocabulary.names
    rng = np.random.default_rng(0)
    text = rng.normal(size=(len(names), DIM)).astype(np.float32)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    layers = [layer for layer in tiny.manifest.layers if layer.graph == "segmentation"]
    merged = {
        layer.name: rng.normal(0, layer.shape[1] ** -0.5, layer.shape).astype(np.float32)
        for layer in layers
    }
    answers = []
    for weights in ({}, merged, dict(list(merged.items())[::3])):
        mix = AdapterMix((f"{len(weights)} layers",), (1.0,))
        weight_set = WeightSet(mix, ArrayWeights(weights), text, tiny.manifest.vocabulary)
        for name in ("onnx", "torch"):
            with create_engine(name, tiny, threads=1) as engine:
                serve(engine, weight_set)
                answers.append(answer(engine, rgb))
    for onnx_logits, torch_logits in zip(answers[::2], answers[1::2], strict=True):
        np.testing.assert_allclose(onnx_logits, torch_logits, atol=2e-3)
    assert np.abs(answers[0] - answers[2]).max() > 0.1, "the merged weights must matter"


def test_torch_reads_the_first_tap_twice_where_the_bundle_says_so(network_bundle, rgb):
    """Only while adapters serve; the onnx side is held against torch on a whole bundle."""
    torch = pytest.importorskip("torch", reason="engine torch needs PyTorch")
    from fakes import with_taps

    from semla_ros.engine.torch_engine import load_network

    trained = replace(
        network_bundle,
        manifest=replace(network_bundle.manifest, adapter_guidance="as_trained"),
    )
    names = trained.manifest.vocabulary.names
    text = np.random.default_rng(0).normal(size=(len(names), DIM)).astype(np.float32)
    image = np.ascontiguousarray(rgb[:32, :32])
    with create_engine("torch", trained, threads=1) as engine:
        model = load_network(trained)
        first = model.config.taps[0]
        other = with_taps(model, (first, first))
        for mix, network in (
            (AdapterMix.base_only(), model),
            (AdapterMix(("fog",), (1.0,)), other),
        ):
            serve(engine, WeightSet(mix, UNCHANGED, text, trained.manifest.vocabulary))
            with torch.no_grad():
                tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float()
                expected = network(tensor, torch.from_numpy(text))[0].numpy()
            np.testing.assert_allclose(engine.logits(image), expected, atol=1e-4)


def test_onnx_refuses_a_graph_without_the_tap_that_the_manifest_promises(hand_made):
    manifest = replace(hand_made.bundle.manifest, adapter_guidance="as_trained")
    with pytest.raises(BundleError, match="second_tap"):
        create_engine("onnx", replace(hand_made.bundle, manifest=manifest))


def test_onnx_refuses_more_classes_than_the_graph_tells_apart(hand_made, make_set):
    many = make_set(1, names=tuple(f"class {i}" for i in range(257)))
    assert isinstance(many.vocabulary, Vocabulary)
    with (
        create_engine("onnx", hand_made.bundle) as engine,
        pytest.raises(VocabularyError, match="at most 256 classes, got 257"),
    ):
        engine.prepare(many)


def test_torch_missing_is_said_with_the_remedy(network_bundle, monkeypatch):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "torch" else found(name, *a)
    )
    with pytest.raises(EngineUnavailableError, match="pip install torch"):
        create_engine("torch", network_bundle)
