"""A whole bundle without torch whose class list is closed: a convolution, then a linear layer.

Its image is wider than high, its class maps are softmax logits, its convolution has another name
in older files. Navigator, hashes and adapters with statistics are those of `small_bundle`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import yaml
from onnx import helper
from safetensors.numpy import load_file, save_file
from small_bundle import CLASSES, DOMAINS, NAVIGATOR, _model, _navigator, _value

from semla_ros.bundle import (
    SOFTMAX,
    AdaptationDefaults,
    GraphWeight,
    Manifest,
    NavigatorSpec,
    SegmentationSpec,
    file_sha256,
    manifest_to_dict,
)
from semla_ros.core.types import LoraAdapter, LoraLayer
from semla_ros.core.viz.palette import vocabulary_of
from semla_ros.library.statistics import DomainStatistics
from semla_ros.prepare.adapters.write import write_adapter, write_statistics

SIZE, PATCH, DIM = (32, 48), 4, 8
KERNEL = (3, PATCH, PATCH)
OLD_NAME, HUB_NAME = "old.stem", "closed-tiny"
LAYERS = (
    GraphWeight(
        "stem", "stem.weight", "segmentation", "stem", False, (DIM, 48), KERNEL, (OLD_NAME,)
    ),
    GraphWeight("head", "head.weight", "segmentation", "head", True, (len(CLASSES), DIM)),
)


def closed_bundle(root: Path) -> Path:
    """Write the bundle to the new folder `root` and return it."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True)
    stem = rng.normal(0, 0.2, (DIM, *KERNEL)).astype(np.float32)
    head = rng.normal(size=(len(CLASSES), DIM)).astype(np.float32)
    save_file({"stem.weight": stem, "head.weight": head}, root / "weights.safetensors")
    onnx.save(_segmentation(stem, head.T), root / "segmentation.onnx")
    onnx.save(_navigator(), root / "navigator.onnx")
    for name, mean in DOMAINS.items():
        _write_domain(root / "library" / name, name, mean, rng)
    files = {f.name: file_sha256(f) for f in sorted(root.iterdir()) if f.is_file()}
    text = yaml.safe_dump(manifest_to_dict(_manifest(files)), sort_keys=False)
    (root / "bundle.yaml").write_text(text, encoding="utf-8")
    return root


def answer(rgb: np.ndarray, weights: dict[str, np.ndarray]) -> np.ndarray:
    """Return the logits (T, h, w) of `rgb` (32, 48, 3) under weights (out, in) by layer."""
    height, width = SIZE[0] // PATCH, SIZE[1] // PATCH
    patches = (rgb.astype(np.float64) / 255).reshape(height, PATCH, width, PATCH, 3)
    flat = patches.transpose(0, 2, 4, 1, 3).reshape(height * width, -1)
    hidden = np.maximum(flat @ weights["stem"].T, 0)
    return (hidden @ weights["head"].T).T.reshape(-1, height, width)


def _manifest(files: dict[str, str]) -> Manifest:
    half = (0.5, 0.5, 0.5)
    return Manifest(
        name="closed",
        family="transformers",
        base_model="closed:1",
        segmentation=SegmentationSpec(
            SIZE[0], max_classes=len(CLASSES), width=SIZE[1], activation=SOFTMAX
        ),
        text=None,
        navigator=NavigatorSpec("mean-colour", NAVIGATOR, "center_crop", half, half, 3),
        vocabulary=vocabulary_of(CLASSES),
        defaults=AdaptationDefaults(0.05, 5, "euclidean", "inverse", -1.0, 0.1, 10.0),
        layers=LAYERS,
        files=files,
        base_names=(HUB_NAME,),
    )


def _write_domain(folder: Path, name: str, mean: float, rng: np.random.Generator) -> None:
    """Write an adapter as PEFT does: factors of a convolution have four axes, its name is old."""
    folder.mkdir(parents=True)
    layers = {
        OLD_NAME if layer.kernel else layer.name: LoraLayer(
            rng.normal(size=(2, layer.shape[1])).astype(np.float32),
            rng.normal(0, 0.2, (layer.shape[0], 2)).astype(np.float32),
            0.5,
        )
        for layer in LAYERS
    }
    write_adapter(folder, LoraAdapter(name, layers, f"someone/{HUB_NAME}"), alpha=1.0)
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    for key, shape in (("lora_A", (2, *KERNEL)), ("lora_B", (DIM, 2, 1, 1))):
        whole = f"base_model.model.{OLD_NAME}.{key}.weight"
        tensors[whole] = tensors[whole].reshape(shape)
    save_file(tensors, path)
    statistics = DomainStatistics(np.full(3, mean), count=10, encoder="mean-colour")
    write_statistics(folder, name, statistics)


def _segmentation(stem: np.ndarray, head: np.ndarray) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Div", ["image", "white"], ["x"]),
        helper.make_node("Conv", ["x", "stem"], ["c"], strides=[PATCH, PATCH]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Transpose", ["r"], ["last"], perm=[0, 2, 3, 1]),
        helper.make_node("MatMul", ["last", "head"], ["l"]),
        helper.make_node("Transpose", ["l"], ["logits"], perm=[0, 3, 1, 2]),
    ]
    inputs = [
        _value("image", ["batch", 3, "height", "width"]),
        _value("stem", list(stem.shape)),
        _value("head", list(head.shape)),
    ]
    outputs = [_value("logits", ["batch", len(CLASSES), "h", "w"])]
    return _model(nodes, inputs, outputs, {"white": np.float32(255), "stem": stem, "head": head})
