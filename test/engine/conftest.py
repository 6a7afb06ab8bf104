"""A small hand-made bundle whose answers can be computed in a few lines of numpy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from closed_bundle import CLASSES, closed_bundle
from fakes import tiny_config
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from semla_ros.bundle import (
    AdaptationDefaults,
    GraphWeight,
    Manifest,
    ModelBundle,
    SegmentationSpec,
    TextSpec,
    open_bundle,
)
from semla_ros.core.engines import ENGINES
from semla_ros.core.errors import EngineUnavailableError
from semla_ros.core.types import AdapterMix, Vocabulary
from semla_ros.core.weights import ArrayWeights, WeightSet
from semla_ros.engine import EngineOptions, open_engine

SIZE, POOL, HIDDEN, DIM = 64, 4, 192, 32
SIDE = SIZE // POOL
WORDS = ("a", "photo", "of", "road", "sky", "car", "tree", "person", "very", "long")
CONTEXT = 8

LAYERS = (
    GraphWeight("head.fc1", "head.fc1.weight", "segmentation", "fc1", True, (HIDDEN, 3)),
    GraphWeight("head.fc2", "head.fc2.weight", "segmentation", "fc2", False, (DIM, HIDDEN)),
    GraphWeight("text.fc", "text.fc.weight", "text", "text_fc", True, (DIM, DIM)),
)


@dataclass(frozen=True)
class HandMade:
    """The bundle, its base weights, and the same network in numpy."""

    bundle: ModelBundle
    base: dict[str, np.ndarray]

    def logits(self, rgb: np.ndarray, weights: dict[str, np.ndarray], text: np.ndarray):
        assert rgb.shape == (SIZE, SIZE, 3)
        w = {**self.base, **weights}
        pooled = rgb.astype(np.float64).reshape(SIDE, POOL, SIDE, POOL, 3).mean((1, 3)) / 255
        hidden = np.maximum(pooled.reshape(-1, 3) @ w["head.fc1"].T, 0)
        return (text @ (hidden @ w["head.fc2"].T).T).reshape(len(text), SIDE, SIDE)


@pytest.fixture(scope="session")
def hand_made(tmp_path_factory: pytest.TempPathFactory) -> HandMade:
    root = tmp_path_factory.mktemp("bundle")
    rng = np.random.default_rng(0)
    base = {
        layer.name: rng.normal(0, layer.shape[1] ** -0.5, layer.shape).astype(np.float32)
        for layer in LAYERS
    }
    save_file(
        {layer.parameter: base[layer.name] for layer in LAYERS}, root / "weights.safetensors"
    )
    onnx.save(_segmentation_graph(base), root / "segmentation.onnx")
    onnx.save(_text_graph(base, rng), root / "text_encoder.onnx")
    _tokenizer().save(str(root / "tokenizer.json"))
    return HandMade(ModelBundle(root, manifest_of(LAYERS, size=SIZE)), base)


def manifest_of(layers: tuple[GraphWeight, ...], *, size: int) -> Manifest:
    return Manifest(
        name="hand-made",
        family="catseg",
        base_model="hand:1",
        segmentation=SegmentationSpec(size),
        text=TextSpec("a photo of {}", CONTEXT),
        navigator=None,
        vocabulary=vocabulary(),
        defaults=AdaptationDefaults(0.05, 5, "euclidean", "inverse", -1.0, 0.1, 10.0),
        layers=layers,
        files={},
    )


def vocabulary(*names: str) -> Vocabulary:
    names = names or ("road", "sky", "car", "tree")
    return Vocabulary(names, np.zeros((len(names), 3), np.uint8))


@pytest.fixture(scope="session")
def network_bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """Return the weights and the manifest of a tiny random CAT-Seg; no graphs."""
    pytest.importorskip("torch", reason="needs PyTorch to make a CAT-Seg")
    from safetensors.torch import save_file as save_tensors

    from semla_ros.network.checkpoint import create_catseg
    from semla_ros.network.layers import adaptable_layers

    config = tiny_config(text_layers=1, vocab_size=20, context_length=CONTEXT)
    root = tmp_path_factory.mktemp("network")
    model = create_catseg(config, seed=0)
    save_tensors(model.state_dict(), root / "weights.safetensors")
    layers = tuple(
        GraphWeight(x.name, x.parameter, "segmentation", x.parameter, True, x.shape)
        for x in adaptable_layers(config)
        if x.tower != "text" and not x.inert_in_official
    )
    return ModelBundle(root, manifest_of(layers, size=config.resolution))


@pytest.fixture(scope="session")
def make_set() -> Callable[..., WeightSet]:
    """Return a factory of random sets for the hand-made bundle."""
    return set_maker(LAYERS[:2])


def set_maker(layers: Sequence[GraphWeight], *, closed: bool = False) -> Callable[..., WeightSet]:
    """Return a factory of random weight sets: seed, how many of `layers` to touch, names.

    A closed class list keeps its names, whatever is asked for, and has no text features.
    """

    def make(seed: int, touched: int = 2, names=("road", "sky", "car", "tree")) -> WeightSet:
        rng = np.random.default_rng(seed)
        weights = {
            layer.name: rng.normal(0, layer.shape[1] ** -0.5, layer.shape).astype(np.float32)
            for layer in layers[:touched]
        }
        names, dim = (CLASSES, 0) if closed else (names, DIM)
        text = rng.normal(0, DIM**-0.5, (len(names), dim)).astype(np.float32)
        mix = AdapterMix((f"adapter-{seed}",), (1.0,))
        return WeightSet(mix, ArrayWeights(weights), text, vocabulary(*names))

    return make


@pytest.fixture(scope="session")
def closed_made(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """Return a bundle that reads no text; its image is wide, its first layer a convolution."""
    return open_bundle(closed_bundle(tmp_path_factory.mktemp("closed") / "bundle"))


@pytest.fixture
def rgb(request) -> np.ndarray:
    """Return an image of the size of the engine's network."""
    known = "engine" in request.fixturenames
    size = request.getfixturevalue("engine").facts.size if known else (SIZE, SIZE)
    return np.random.default_rng(7).integers(0, 256, (*size, 3), dtype=np.uint8)


def _initializer(name: str, value: np.ndarray) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(value), name)


def _overridable(name: str, value: np.ndarray) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(value.shape))


def _model(nodes, inputs, outputs, initializers) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "hand", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def _segmentation_graph(base: dict[str, np.ndarray]) -> onnx.ModelProto:
    fc1, fc2 = base["head.fc1"].T, base["head.fc2"]
    node = helper.make_node
    nodes = [
        node("Div", ["image", "white"], ["scaled"]),
        node("AveragePool", ["scaled"], ["p"], kernel_shape=[POOL] * 2, strides=[POOL] * 2),
        node("Transpose", ["p"], ["last"], perm=[0, 2, 3, 1]),
        node("Reshape", ["last", "rows"], ["x"]),
        node("MatMul", ["x", "fc1"], ["h"]),
        node("Relu", ["h"], ["r"]),
        node("Gemm", ["r", "fc2"], ["f"], transB=1),
        node("Gemm", ["text_features", "f"], ["flat"], transB=1),
        node("Reshape", ["flat", "maps"], ["logits"]),
    ]
    inputs = [
        helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIZE, SIZE]),
        helper.make_tensor_value_info("text_features", TensorProto.FLOAT, ["T", DIM]),
        _overridable("fc1", fc1),
        _overridable("fc2", fc2),
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, "T", SIDE, SIDE])]
    initializers = [
        _initializer("white", np.float32(255.0)),
        _initializer("rows", np.array([SIDE * SIDE, 3])),
        _initializer("maps", np.array([1, -1, SIDE, SIDE])),
        _initializer("fc1", fc1),
        _initializer("fc2", fc2),
    ]
    return _model(nodes, inputs, outputs, initializers)


def _text_graph(base: dict[str, np.ndarray], rng: np.random.Generator) -> onnx.ModelProto:
    """Token embeddings summed (padding has none), one linear layer, L2-normalised."""
    table = rng.normal(size=(len(WORDS) + 3, DIM)).astype(np.float32)
    table[0] = 0
    weight = base["text.fc"].T
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["e"]),
        helper.make_node("ReduceSum", ["e", "axis"], ["s"], keepdims=0),
        helper.make_node("MatMul", ["s", "text_fc"], ["f"]),
        helper.make_node("LpNormalization", ["f"], ["text_features"], axis=-1, p=2),
    ]
    inputs = [
        helper.make_tensor_value_info("tokens", TensorProto.INT64, ["T", "L"]),
        _overridable("text_fc", weight),
    ]
    outputs = [helper.make_tensor_value_info("text_features", TensorProto.FLOAT, ["T", DIM])]
    initializers = [
        _initializer("table", table),
        _initializer("axis", np.array([1])),
        _initializer("text_fc", weight),
    ]
    return _model(nodes, inputs, outputs, initializers)


def _tokenizer() -> Tokenizer:
    words = ("<pad>", *WORDS, "<start>", "<end>")
    ids = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[(w, ids[w]) for w in ("<start>", "<end>")]
    )
    return tokenizer


CASES = {
    **{name: (name, EngineOptions(threads=1)) for name in ENGINES},
    "openvino-f32": ("openvino", EngineOptions(threads=1, precision="f32")),
    "openvino-2-threads": ("openvino", EngineOptions(threads=2)),
    "torch-bf16": ("torch", EngineOptions(threads=1, precision="bf16")),
    "torch-cuda": ("torch", EngineOptions(device="cuda")),
    "onnx-closed": ("onnx", EngineOptions(threads=1)),
    "openvino-closed": ("openvino", EngineOptions(threads=1, precision="f32")),
}
"""What the contract is tested with: every engine, its other ways of working, and networks that
read no text."""

_ON_GPU = {"torch-cuda"}
_READS_WEIGHTS = {"torch"}
"""Engines that have no use for graphs."""


def case(name):
    """Return a parameter of `engine`, marked with what it needs."""
    return pytest.param(name, marks=pytest.mark.gpu if name in _ON_GPU else ())


@pytest.fixture(params=[case(name) for name in CASES])
def engine(request):
    """Each engine on a small bundle it can read; skips naming what is missing."""
    name, options = CASES[request.param]
    wanted = "network_bundle" if name in _READS_WEIGHTS else "hand_made"
    wanted = "closed_made" if request.param.endswith("-closed") else wanted
    found = request.getfixturevalue(wanted)
    bundle = found.bundle if wanted == "hand_made" else found
    try:
        engine = open_engine(name, bundle, options)
    except EngineUnavailableError as error:
        pytest.skip(f"{request.param}: {error}")
    with engine:
        yield engine


@pytest.fixture
def engine_set(engine):
    """Return a factory of random sets for `engine`: seed, layers touched, class names."""
    layers = list(engine.facts.layers.values())[:2]
    return set_maker(layers, closed=engine.facts.feature_dim == 0)
