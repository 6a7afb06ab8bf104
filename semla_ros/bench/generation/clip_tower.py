"""The demo's CLIP image tower in torch, from the navigator's graph, with changes of q, k, v.

Source: SG-LoRA (CVPR 2026): LoRA on W_q, W_k and W_v of every block of the visual encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from semla_ros.core.types import Float32Array, LoraAdapter, LoraLayer

RANK, SCALING = 2, 2.0
LETTERS = ("q", "k", "v")


@dataclass(frozen=True, slots=True)
class ImageTower:
    """The tower with its weights, frozen.

    Attributes:
        module: Normalised images (N, 3, S, S) to embeddings (N, D).
    """

    module: nn.Module

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the changed layers, `resblocks.<i>.<q|k|v>`, in the tower's order."""
        blocks = len(self.module.transformer.resblocks)  # type: ignore[union-attr, arg-type]
        return tuple(f"resblocks.{i}.{letter}" for i in range(blocks) for letter in LETTERS)

    @property
    def width(self) -> int:
        """Of a block."""
        return int(self.module.state_dict()["ln_post.weight"].shape[0])

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
