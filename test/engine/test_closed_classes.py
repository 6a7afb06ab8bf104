"""Networks that read no text: closed class lists, wide images, adapted convolutions."""

import numpy as np
import pytest
from closed_bundle import CLASSES, LAYERS, OLD_NAME, SIZE, answer, closed_bundle

from semla_ros.bundle import open_bundle
from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.core.errors import (
    AdapterError,
    BundleError,
    EngineUnavailableError,
    VocabularyError,
)
from semla_ros.core.types import AdapterMix
from semla_ros.core.viz.palette import vocabulary_of
from semla_ros.core.weights import UNCHANGED, WeightSet
from semla_ros.engine import create_engine
from semla_ros.engine.closed_text import ClosedText, open_text
from semla_ros.engine.postprocess import labels_from_logits
from semla_ros.engine.text import TextEncoder
from semla_ros.library.fusion import MergedWeights
from semla_ros.library.library import AdapterLibrary


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    return open_bundle(closed_bundle(tmp_path_factory.mktemp("closed") / "bundle"))


@pytest.fixture(scope="module", params=["onnx", "openvino"])
def engine(request, closed):
    try:
        opened = create_engine(request.param, closed, threads=1, precision="f32")
    except EngineUnavailableError as error:
        pytest.skip(str(error))
    with opened:
        yield opened


@pytest.fixture
def rgb():
    return np.random.default_rng(3).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


MIXES = {
    "base": AdapterMix.base_only(),
    "fog": AdapterMix(("fog",), (1.0,)),
    "both": AdapterMix(("night", "fog"), (0.7, 0.3)),
}


def weights_of(closed, mix):
    """Return the weight (out, in) of every layer under `mix`, summed up here."""
    library, base = AdapterLibrary.of(closed), BaseWeights.open(closed)
    weights = {layer.name: base.get(layer.name).astype(np.float64) for layer in LAYERS}
    for name, share in zip(mix.names, mix.weights, strict=True):
        for layer, each in library.get(name).layers.items() if name != "base" else ():
            weights[layer] += share * each.scaling * each.lora_b @ each.lora_a
    return weights


def serve(engine, closed, mix):
    adapters = [AdapterLibrary.of(closed).get(name) for name in mix.names if name != "base"]
    merged = MergedWeights(BaseWeights.open(closed), adapters, mix)
    vocabulary = closed.manifest.vocabulary
    features = open_text(closed).encode(vocabulary, merged)
    engine.prepare(WeightSet(mix, merged, features, vocabulary))
    proved = engine.prove(np.zeros((*SIZE, 3), np.uint8))
    engine.commit()
    return proved


@pytest.mark.parametrize("mix", MIXES)
def test_convolutions_and_linear_layers_are_merged_exactly(engine, closed, rgb, mix):
    serve(engine, closed, MIXES[mix])
    expected = answer(rgb, weights_of(closed, MIXES[mix]))
    np.testing.assert_allclose(engine.logits(rgb), expected, atol=1e-4 * np.abs(expected).max())
    found = engine.infer(rgb)
    wanted = labels_from_logits(expected.astype(np.float32), SIZE, activation="softmax")
    assert (found.labels == wanted.labels).mean() > 0.999
    assert np.abs(found.confidence.astype(int) - wanted.confidence).max() <= 1


def test_the_way_back_is_bit_identical_and_sets_are_proved(engine, closed, rgb):
    serve(engine, closed, MIXES["base"])
    before = engine.logits(rgb)
    assert serve(engine, closed, MIXES["both"]).shape == (len(CLASSES), 8, 12)
    assert not np.array_equal(engine.logits(rgb), before)
    serve(engine, closed, MIXES["base"])
    np.testing.assert_array_equal(engine.logits(rgb), before)


def test_adapters_serve_under_the_layers_own_names(closed):
    adapter = AdapterLibrary.of(closed).get("fog")
    assert set(adapter.layers) == {"stem", "head"}
    assert OLD_NAME not in adapter.layers


def test_other_classes_are_refused(closed, engine):
    others = vocabulary_of(("road", "car", "sky", "sand"))
    with pytest.raises(VocabularyError, match="closed class list, the 4 classes"):
        ClosedText(closed.manifest).encode(others, UNCHANGED)
    fewer = vocabulary_of(CLASSES[:2])
    with pytest.raises(VocabularyError, match="expected the 4 classes"):
        engine.prepare(WeightSet(MIXES["base"], UNCHANGED, np.zeros((2, 0), np.float32), fewer))
    with pytest.raises(BundleError, match="closed class list"):
        TextEncoder(closed)


@pytest.mark.parametrize("name", ["torch", "tensorrt"])
def test_engines_that_cannot_serve_it_say_so(closed, name, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: object())
    with pytest.raises(EngineUnavailableError, match="take engine 'onnx'"):
        create_engine(name, closed)


def test_a_graph_of_another_size_is_refused(closed, tmp_path):
    import yaml

    root = closed_bundle(tmp_path / "other")
    data = yaml.safe_load((root / "bundle.yaml").read_text())
    data["layers"][0]["kernel"], data["layers"][0]["shape"] = [3, 4, 5], [8, 60]
    (root / "bundle.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(BundleError, match=r"'stem.weight' of shape \(8, 3, 4, 5\)"):
        create_engine("onnx", open_bundle(root))


@pytest.mark.parametrize("kernel", [(2, 48), (2, 3, 16), (2, 3, 4, 4, 1)])
def test_factors_of_other_kinds_of_layers_are_refused(closed, tmp_path, kernel):
    from safetensors.numpy import load_file, save_file

    root = closed_bundle(tmp_path / "odd")
    path = root / "library" / "fog" / "adapter_model.safetensors"
    tensors = load_file(path)
    key = f"base_model.model.{OLD_NAME}.lora_A.weight"
    tensors[key] = tensors[key].reshape(kernel)
    save_file(tensors, path)
    library = AdapterLibrary.of(open_bundle(root))
    if len(kernel) == 2:  # a matrix is a matrix
        assert "fog" in library.names
        return
    assert "expected" in library.problems["fog"]
    with pytest.raises(AdapterError):
        library.get("fog")
