"""A whole bundle without torch, made in a moment: colours are its features, domains, classes.

The segmentation graph pools the image and projects colours, the navigator's embedding is the mean
colour, the text tower looks words up. Everything else (manifest, hashes, tokenizer, adapters with
statistics) is as in a real bundle.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from semla_ros.bundle import (
    AdaptationDefaults,
    GraphWeight,
    Manifest,
    NavigatorSpec,
    SegmentationSpec,
    TextSpec,
    file_sha256,
    manifest_to_dict,
)
from semla_ros.core.types import LoraAdapter, LoraLayer, Vocabulary
from semla_ros.library.statistics import DomainStatistics
from semla_ros.prepare.adapters.write import write_adapter, write_statistics

SIZE, POOL, DIM, NAVIGATOR = 32, 4, 8, 16
SIDE = SIZE // POOL
CLASSES = ("road", "car", "sky", "tree")
DOMAINS = {"fog": 0.2, "night": -1.0, "rain": 0.6}
LAYERS = (
    GraphWeight("image.fc", "image.fc.weight", "segmentation", "fc", True, (DIM, 3)),
    GraphWeight("text.fc", "text.fc.weight", "text", "text_fc", True, (DIM, DIM)),
)


def small_bundle(root: Path) -> Path:
    """Write the bundle to the new folder `root` and return it."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True)
    base = {layer.parameter: rng.normal(size=layer.shape).astype(np.float32) for layer in LAYERS}
    save_file(base, root / "weights.safetensors")
    onnx.save(_segmentation(base["image.fc.weight"].T), root / "segmentation.onnx")
    onnx.save(_text(base["text.fc.weight"].T, rng), root / "text_encoder.onnx")
    onnx.save(_navigator(), root / "navigator.onnx")
    words = {word: i for i, word in enumerate(("<pad>", "a", "photo", "of", *CLASSES))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(root / "tokenizer.json"))
    for name, mean in DOMAINS.items():
        _write_domain(root / "library" / name, name, mean, rng)
    files = {f.name: file_sha256(f) for f in sorted(root.iterdir()) if f.is_file()}
    text = yaml.safe_dump(manifest_to_dict(_manifest(files)), sort_keys=False)
    (root / "bundle.yaml").write_text(text, encoding="utf-8")
    return root


def _manifest(files: dict[str, str]) -> Manifest:
    colors = np.array([[128, 64, 128], [0, 0, 142], [70, 130, 180], [107, 142, 35]], np.uint8)
    half = (0.5, 0.5, 0.5)
    return Manifest(
        name="small",
        family="catseg",
        base_model="small:1",
        segmentation=SegmentationSpec(SIZE),
        text=TextSpec("a photo of {}", 8),
        navigator=NavigatorSpec("mean-colour", NAVIGATOR, "center_crop", half, half, 3),
        vocabulary=Vocabulary(CLASSES, colors),
        defaults=AdaptationDefaults(0.05, 5, "euclidean", "inverse", -1.0, 0.1, 10.0),
        layers=LAYERS,
        files=files,
    )


def _write_domain(folder: Path, name: str, mean: float, rng: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    layers = {
        layer.name: LoraLayer(
            rng.normal(size=(2, layer.shape[1])).astype(np.float32),
            rng.normal(size=(layer.shape[0], 2)).astype(np.float32),
            0.5,
        )
        for layer in LAYERS
    }
    write_adapter(folder, LoraAdapter(name, layers, "small:1"), alpha=1.0)
    centroid = np.full(3, mean)
    write_statistics(folder, name, DomainStatistics(centroid, count=10, encoder="mean-colour"))


def _value(
    name: str, shape: list[int | str], kind: int = TensorProto.FLOAT
) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _model(nodes, inputs, outputs, constants) -> onnx.ModelProto:
    initializers = [
        numpy_helper.from_array(np.ascontiguousarray(v), name) for name, v in constants.items()
    ]
    graph = helper.make_graph(nodes, "small", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def _segmentation(fc: np.ndarray) -> onnx.ModelProto:
    nodes = [
        helper.make_node(
            "AveragePool", ["image"], ["p"], kernel_shape=[POOL] * 2, strides=[POOL] * 2
        ),
        helper.make_node("Transpose", ["p"], ["last"], perm=[0, 2, 3, 1]),
        helper.make_node("Sub", ["last", "gray"], ["x"]),
        helper.make_node("MatMul", ["x", "fc"], ["f"]),
        helper.make_node("Transpose", ["text_features"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["f", "t"], ["l"]),
        helper.make_node("Transpose", ["l"], ["logits"], perm=[0, 3, 1, 2]),
    ]
    inputs = [
        _value("image", [1, 3, SIZE, SIZE]),
        _value("text_features", ["T", DIM]),
        _value("fc", list(fc.shape)),
    ]
    outputs = [_value("logits", [1, "T", SIDE, SIDE])]
    return _model(nodes, inputs, outputs, {"gray": np.float32(127.5), "fc": fc})


def _text(fc: np.ndarray, rng: np.random.Generator) -> onnx.ModelProto:
    table = rng.normal(size=(4 + len(CLASSES), DIM)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["e"]),
        helper.make_node("ReduceSum", ["e", "axis"], ["s"], keepdims=0),
        helper.make_node("MatMul", ["s", "text_fc"], ["f"]),
        helper.make_node("LpNormalization", ["f"], ["text_features"], axis=-1, p=2),
    ]
    inputs = [_value("tokens", ["T", "L"], TensorProto.INT64), _value("text_fc", list(fc.shape))]
    outputs = [_value("text_features", ["T", DIM])]
    constants = {"table": table, "axis": np.array([1]), "text_fc": fc}
    return _model(nodes, inputs, outputs, constants)


def _navigator() -> onnx.ModelProto:
    nodes = [helper.make_node("ReduceMean", ["image"], ["embedding"], axes=[2, 3], keepdims=0)]
    inputs = [_value("image", [1, 3, NAVIGATOR, NAVIGATOR])]
    return _model(nodes, inputs, [_value("embedding", [1, 3])], {})
