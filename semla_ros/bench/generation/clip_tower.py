"""The demo's CLIP image tower in torch, from the navigator's graph, with changes of q, k, v.

Source: SG-LoRA (CVPR 2026): LoRA on W_q, W_k and W_v of every block of the visual encoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.func import functional_call

from semla_ros.bundle import ModelBundle, NavigatorSpec
from semla_ros.core.errors import BundleError
from semla_ros.core.types import Float32Array, LoraAdapter, LoraLayer, UInt8Array
from semla_ros.navigator.preprocess import preprocess
from semla_ros.prepare.bundler.clip import ClipSize, create_clip
from semla_ros.prepare.bundler.writer import state_identity

RANK, SCALING = 2, 2.0
LETTERS = ("q", "k", "v")
_PREFIX = "clip.visual."


@dataclass(frozen=True, slots=True)
class ImageTower:
    """The tower with its weights, frozen.

    Attributes:
        module: Normalised images (N, 3, S, S) to embeddings (N, D).
        spec: How images are preprocessed.
    """

    module: nn.Module
    spec: NavigatorSpec

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the changed layers, `resblocks.<i>.<q|k|v>`, in the tower's order."""
        blocks = len(self.module.transformer.resblocks)  # type: ignore[union-attr, arg-type]
        return tuple(f"resblocks.{i}.{letter}" for i in range(blocks) for letter in LETTERS)

    @property
    def width(self) -> int:
        """Of a block."""
        return int(self.module.state_dict()["ln_post.weight"].shape[0])

    def images(self, rgb: Sequence[UInt8Array]) -> Tensor:
        """Return images as the tower takes them, (N, 3, S, S)."""
        return torch.from_numpy(np.concatenate([preprocess(each, self.spec) for each in rgb]))

    def embed(self, images: Tensor, changes: Mapping[str, Tensor]) -> Tensor:
        """Return unit embeddings (N, D) with `changes` (layer -> (W, W)) added to q, k and v."""
        state = dict(self.module.named_parameters())
        merged = {}
        for i in range(len(self.layers) // len(LETTERS)):
            name = f"transformer.resblocks.{i}.attn.in_proj_weight"
            parts = [changes[f"resblocks.{i}.{letter}"] for letter in LETTERS]
            merged[name] = state[name] + torch.cat(parts)
        found: Tensor = functional_call(self.module, merged, (images,))
        return nn.functional.normalize(found, dim=-1)


def open_tower(bundle: ModelBundle) -> ImageTower:
    """Return the image tower of the demo's navigator.

    The exporter keeps most tensors' names; it turns the matrices that it multiplies with and
    copies the class token. Those stand in the graph in the order of the tower's layers, and the
    navigator's identity proves that they were put together rightly.

    Raises:
        BundleError: A navigator of another kind than the demo's.
    """
    spec = bundle.manifest.navigator
    module = create_clip(ClipSize(), seed=0).visual.eval().requires_grad_(False)
    found = _state(bundle, module.state_dict()) if spec is not None else {}
    identity = state_identity(found, prefix="semla-demo-clip") if found else "none"
    if spec is None or identity != spec.identity:
        raise BundleError(
            f"bundle {bundle.manifest.name!r}: expected the demo's navigator, whose CLIP is small "
            f"enough to be trained here, got {spec.identity if spec else None!r}"
        )
    module.load_state_dict(found)
    return ImageTower(module, spec)


def changes_of(adapter: LoraAdapter) -> dict[str, Tensor]:
    """Return layer -> scaling B A."""
    return {
        name: layer.scaling * (torch.from_numpy(layer.lora_b) @ torch.from_numpy(layer.lora_a))
        for name, layer in adapter.layers.items()
    }


def start(tower: ImageTower, *, seed: int) -> LoraAdapter:
    """Return where all tasks begin: A uniform within 1 / sqrt(in), B = 0."""
    rng = np.random.default_rng(seed)
    width = tower.width
    bound = 1.0 / np.sqrt(width)

    def layer() -> LoraLayer:
        a: Float32Array = rng.uniform(-bound, bound, (RANK, width)).astype(np.float32)
        return LoraLayer(a, np.zeros((width, RANK), np.float32), SCALING)

    return LoraAdapter("start", {name: layer() for name in tower.layers})


def _state(bundle: ModelBundle, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    graph = onnx.load(str(bundle.navigator_graph)).graph
    arrays = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    state = {
        name.removeprefix(_PREFIX): torch.from_numpy(array.copy())
        for name, array in arrays.items()
        if name.startswith(_PREFIX)
    }
    turned = [
        arrays[name]
        for node in graph.node
        if node.op_type in ("Concat", "MatMul")
        for name in node.input
        if name in arrays and not name.startswith(_PREFIX)
    ]
    renamed = [name for name in like if name not in state]
    for name, array in zip(renamed, turned, strict=False):
        if array.size != like[name].numel():
            return {}
        state[name] = torch.from_numpy(array.T.reshape(like[name].shape).copy())
    return {name: state[name] for name in like} if state.keys() == like.keys() else {}
