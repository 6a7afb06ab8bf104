"""Exported graphs against the network itself, run by ONNX Runtime."""

import numpy as np
import onnx
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/setup --dev")

from fakes import small_config, with_taps  # noqa: E402
from torch.nn import functional  # noqa: E402

from semla_ros.core.errors import TrainingError  # noqa: E402
from semla_ros.network.catseg import ABSENT_LOGIT  # noqa: E402
from semla_ros.network.checkpoint import create_catseg  # noqa: E402
from semla_ros.network.layers import adaptable_layers  # noqa: E402
from semla_ros.prepare.bundler import graph_file  # noqa: E402
from semla_ros.prepare.bundler.onnx_export import (  # noqa: E402
    OPSET,
    export_segmentation,
    export_text_encoder,
    save_graph,
)

TOLERANCE = 1e-4

CONFIG = small_config(pad_len=64)
LAYERS = tuple(layer for layer in adaptable_layers(CONFIG) if layer.used)
IMAGE_LAYERS = tuple(layer for layer in LAYERS if layer.tower != "text")
TEXT_LAYERS = tuple(layer for layer in LAYERS if layer.tower == "text")


@pytest.fixture(scope="module")
def model():
    return create_catseg(CONFIG, seed=1).eval()


@pytest.fixture(scope="module")
def other():
    """The same network with every adaptable weight changed."""
    model = create_catseg(CONFIG, seed=1).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for layer in LAYERS:
            weight = model.get_parameter(layer.parameter)
            weight += 0.1 * torch.randn(weight.shape, generator=generator)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("graphs")


@pytest.fixture(scope="module")
def segmentation(model, folder):
    weights = export_segmentation(model, folder / "segmentation.onnx", LAYERS)
    return weights, session(folder / "segmentation.onnx")


@pytest.fixture(scope="module")
def text(model, folder):
    weights = export_text_encoder(model, folder / "text.onnx", LAYERS)
    return weights, session(folder / "text.onnx")


@pytest.fixture
def image():
    return torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(3)) * 255


@pytest.fixture
def tokens():
    return torch.tensor([[98, 5, 99, 0, 0, 0, 0], [98, 7, 8, 9, 10, 11, 99]])


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def features(classes):
    generator = torch.Generator().manual_seed(classes)
    return functional.normalize(torch.randn(classes, 32, generator=generator), dim=-1)


def graph_feed(weights, network):
    """Return the network's own adaptable weights in the graph's layout."""
    return {
        weight.initializer: np.ascontiguousarray(
            network.get_parameter(weight.parameter).detach().numpy().T
        )
        for weight in weights.values()
    }


@torch.no_grad()
@pytest.mark.parametrize("classes", [1, 3, 19, 64, 65, 200])
def test_the_segmentation_graph_gives_the_networks_logits(model, segmentation, image, classes):
    """Above 64, the limit here, both keep the same 64 most similar classes of the image."""
    texts = features(classes)
    (logits,) = segmentation[1].run(
        ["logits"], {"image": image.numpy(), "text_features": texts.numpy()}
    )
    assert np.abs(logits - model(image, texts).numpy()).max() < TOLERANCE
    absent = (logits == ABSENT_LOGIT).all(axis=(2, 3)).sum()
    assert absent == max(0, classes - CONFIG.pad_len)


@pytest.fixture(scope="module")
def short(model, folder):
    """The path of a graph for short lists whose second tap can be chosen."""
    path = folder / "short.onnx"
    export_segmentation(model, path, LAYERS, choose_tap=True, max_classes=CONFIG.pad_len)
    return path


@torch.no_grad()
def test_a_graph_for_short_lists_selects_nothing(model, short, image):
    assert "TopK" not in {node.op_type for node in onnx.load(str(short)).graph.node}
    texts = features(19)
    feed = {"image": image.numpy(), "text_features": texts.numpy()}
    (logits,) = session(short).run(["logits"], feed)
    assert np.abs(logits - model(image, texts).numpy()).max() < TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize("length", [7, 12])
def test_the_text_graph_gives_the_networks_features(model, text, tokens, length):
    padded = functional.pad(tokens, (0, length - 7))
    (got,) = text[1].run(["text_features"], {"tokens": padded.numpy()})
    assert np.abs(got - model.encode_text(padded).numpy()).max() < TOLERANCE


@torch.no_grad()
def test_fed_weights_replace_those_of_the_image_side(model, other, segmentation, image):
    weights, run = segmentation
    texts = features(5)
    feed = {"image": image.numpy(), "text_features": texts.numpy()}
    (logits,) = run.run(["logits"], feed | graph_feed(weights, other))
    expected = other(image, texts).numpy()
    assert np.abs(logits - expected).max() < TOLERANCE * np.abs(expected).max()
    assert np.abs(logits - model(image, texts).numpy()).max() > 100 * TOLERANCE


@torch.no_grad()
def test_fed_weights_replace_those_of_the_text_side(model, other, text, tokens):
    weights, run = text
    feed = {"tokens": tokens.numpy(), **graph_feed(weights, other)}
    (got,) = run.run(["text_features"], feed)
    assert np.abs(got - other.encode_text(tokens).numpy()).max() < TOLERANCE
    assert np.abs(got - model.encode_text(tokens).numpy()).max() > 100 * TOLERANCE


@pytest.mark.parametrize(
    ("graph", "layers"), [("segmentation", IMAGE_LAYERS), ("text", TEXT_LAYERS)]
)
def test_every_layer_is_an_overridable_initializer_stored_in_out(request, graph, layers):
    weights, run = request.getfixturevalue(graph)
    overridable = {each.name: each.shape for each in run.get_overridable_initializers()}
    assert weights.keys() == {layer.name for layer in layers}
    assert overridable == {layer.parameter: list(layer.shape[::-1]) for layer in layers}
    for layer in layers:
        weight = weights[layer.name]
        assert (weight.graph, weight.transposed, weight.shape) == (graph, True, layer.shape)


def test_the_required_inputs_are_the_documented_ones(segmentation, text):
    assert [(i.name, i.shape) for i in segmentation[1].get_inputs()] == [
        ("image", [1, 3, 64, 64]),
        ("text_features", ["classes", 32]),
    ]
    assert [(i.name, i.shape) for i in text[1].get_inputs()] == [("tokens", ["prompts", "length"])]


@pytest.mark.parametrize("name", ["segmentation", "text"])
def test_opset_and_names_are_those_of_every_torch_version(request, folder, name):
    request.getfixturevalue(name)
    proto = onnx.load(str(folder / f"{name}.onnx"))
    assert [(each.domain, each.version) for each in proto.opset_import] == [("", OPSET)]
    assert not proto.functions
    assert {node.domain for node in proto.graph.node} == {""}
    assert proto.graph.output[0].name == {"text": "text_features"}.get(name, "logits")


def test_a_graph_does_not_tell_where_it_was_made(segmentation, folder):
    content = (folder / "segmentation.onnx").read_bytes()
    assert b"semla_ros/network" not in content
    assert b"stack_trace" not in content


def test_the_network_is_left_as_it_was(model, segmentation):
    fresh = create_catseg(CONFIG, seed=1).state_dict()
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, fresh[key])


def test_a_layer_the_graph_does_not_read_is_refused(model, folder):
    unused = [layer for layer in adaptable_layers(CONFIG) if not layer.used]
    assert unused
    with pytest.raises(TrainingError, match="used=False"):
        export_segmentation(model, folder / "refused.onnx", unused[:1])
    assert not (folder / "refused.onnx").exists()


@torch.no_grad()
def test_the_second_tap_can_be_chosen_per_run(model, short, image):
    run = session(short)
    texts = features(5)
    feed = {"image": image.numpy(), "text_features": texts.numpy()}
    first = CONFIG.taps[0]
    for tap, network in ((2, model), (1, with_taps(model, (first, first)))):
        (logits,) = run.run(["logits"], feed | {"second_tap": np.array([tap])})
        assert np.abs(logits - network(image, texts).numpy()).max() < TOLERANCE
    (logits,) = run.run(["logits"], feed)
    assert np.abs(logits - model(image, texts).numpy()).max() < TOLERANCE


@torch.no_grad()
def test_weights_over_the_limit_go_to_a_file_of_their_own(
    segmentation, other, folder, image, monkeypatch
):
    monkeypatch.setattr(graph_file, "MAX_INLINE_BYTES", 1000)
    weights, path = segmentation[0], folder / "large.onnx"
    save_graph(onnx.load(str(folder / "segmentation.onnx")), path)
    stored = sum(weight.shape[0] * weight.shape[1] * 4 for weight in weights.values())
    assert path.stat().st_size < stored
    assert (folder / "large.onnx.data").stat().st_size > stored
    texts = features(5)
    feed = {"image": image.numpy(), "text_features": texts.numpy()} | graph_feed(weights, other)
    (logits,) = session(path).run(["logits"], feed)
    expected = other(image, texts).numpy()
    assert np.abs(logits - expected).max() < TOLERANCE * np.abs(expected).max()
