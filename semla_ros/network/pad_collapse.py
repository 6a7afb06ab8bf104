"""The class attention as published, with every padding token computed: what the collapse replaces.

Only for measuring one against the other, see scripts/measure_pad_collapse.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from semla_ros.network.aggregator import AggregatorLayer
from semla_ros.network.catseg import CatSeg
from semla_ros.network.class_attention import ClassAttention
from semla_ros.network.config import CatSegConfig


class PaddedClassAttention(ClassAttention):
    """Attends among `pad_len` tokens, the real ones and copies of the padding token."""

    def attend(self, tokens: Tensor, guidance: Tensor) -> Tensor:
        """Return tokens (N, T, dim) after attention and MLP; `guidance` is (N, T, guidance).

        Source: CAT-Seg, ClassTransformerLayer.
        """
        count, classes, _ = tokens.shape
        missing = self.pad_len - classes
        tokens = torch.cat([tokens, self.padding_tokens.expand(count, missing, -1)], dim=1)
        guidance = torch.cat([guidance, self.padding_guidance.expand(count, missing, -1)], dim=1)
        seen = torch.cat([self.norm1(tokens), guidance], dim=-1)
        unused = seen.new_zeros(1, 1, seen.shape[-1])
        tokens = tokens + self.attention(seen, unused, 0)
        out: Tensor = tokens + self.MLP(self.norm2(tokens))
        return out[:, :classes]


def padded_attention(module: ClassAttention, config: CatSegConfig) -> PaddedClassAttention:
    """Return the padded form of `module` with the same weights."""
    padded = PaddedClassAttention(config)
    padded.load_state_dict(module.state_dict())
    return padded.train(module.training)


def padded_network(model: CatSeg) -> CatSeg:
    """Return a copy of `model` whose class attention is in the padded form."""
    changed = copy.deepcopy(model)
    for layer in changed.aggregator.layers:
        if isinstance(layer, AggregatorLayer):
            layer.attention = padded_attention(layer.attention, model.config)
    return changed
