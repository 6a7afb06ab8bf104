"""Attention over classes at every pixel, linear in their number, with the padding collapsed.

The official module pads the T classes to `pad_len` with one learned token. All copies are equal,
so in linear attention their keys and values add up to one copy times their number, and what the
copies themselves would receive is thrown away: only that one key and value are computed here.
The result is the same up to rounding, at a small part of the cost.

Source: linear attention, Katharopoulos et al. 2020 (feature map elu(x) + 1).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from semla_ros.network.config import MLP_RATIO, CatSegConfig

_EPSILON = 1e-6


class LinearAttention(nn.Module):
    """Linear attention; queries and keys also see the text guidance."""

    def __init__(self, config: CatSegConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.heads = config.aggregator_heads
        self.q = nn.Linear(dim + config.text_guidance_dim, dim)
        self.k = nn.Linear(dim + config.text_guidance_dim, dim)
        self.v = nn.Linear(dim, dim)

    def forward(self, seen: Tensor, pad: Tensor, pad_count: int) -> Tensor:
        """Return (N, T, dim).

        Args:
            seen: (N, T, dim + guidance), tokens with their guidance behind them.
            pad: (1, 1, dim + guidance), the padding token in the same form.
            pad_count: how many padding tokens the sequence has behind the T real ones.
        """
        query = functional.elu(self._heads(self.q(seen))) + 1
        key, value = self._keys_and_values(seen)
        pad_key, pad_value = self._keys_and_values(pad)
        memory = key.transpose(-1, -2) @ value
        memory = memory + pad_count * (pad_key.transpose(-1, -2) @ pad_value)
        total = key.sum(dim=-2, keepdim=True) + pad_count * pad_key
        norm = (query * total).sum(dim=-1, keepdim=True) + _EPSILON
        return (query @ memory / norm).transpose(1, 2).flatten(2)

    def _keys_and_values(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        key = functional.elu(self._heads(self.k(seen))) + 1
        return key, self._heads(self.v(seen[..., : self.v.in_features]))

    def _heads(self, x: Tensor) -> Tensor:
        return torch.unflatten(x, -1, (self.heads, -1)).transpose(1, 2)


class ClassAttention(nn.Module):
    """Class attention and an MLP on (pooled) cost maps, added to the input."""

    def __init__(self, config: CatSegConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.pad_len = config.pad_len
        self.pooling = config.pooling
        self.padding_tokens = nn.Parameter(torch.zeros(1, 1, dim))
        self.padding_guidance = nn.Parameter(torch.zeros(1, 1, config.text_guidance_dim))
        self.attention = LinearAttention(config)
        self.MLP = nn.Sequential(
            nn.Linear(dim, MLP_RATIO * dim), nn.ReLU(), nn.Linear(MLP_RATIO * dim, dim)
        )
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        """Return (B, T, H, W, dim); `text` is (B, T, text_guidance_dim)."""
        batch, _, height, width, _ = x.shape
        pooling = self.pooling
        pooled = x if pooling == 1 else _pool(x, pooling)
        rows, columns = height // pooling, width // pooling
        tokens = pooled.permute(0, 2, 3, 1, 4).flatten(0, 2)
        guidance = text[:, None, None].expand(-1, rows, columns, -1, -1).flatten(0, 2)
        tokens = self.attend(tokens, guidance)
        maps = torch.unflatten(tokens, 0, (batch, rows, columns)).permute(0, 3, 1, 2, 4)
        return x + (maps if pooling == 1 else _upsample(maps, height=height, width=width))

    def attend(self, tokens: Tensor, guidance: Tensor) -> Tensor:
        """Return tokens (N, T, dim) after attention and MLP; `guidance` is (N, T, guidance)."""
        seen = torch.cat([self.norm1(tokens), guidance], dim=-1)
        pad = torch.cat([self.norm1(self.padding_tokens), self.padding_guidance], dim=-1)
        tokens = tokens + self.attention(seen, pad, self.pad_len - tokens.shape[1])
        out: Tensor = tokens + self.MLP(self.norm2(tokens))
        return out


def _pool(x: Tensor, factor: int) -> Tensor:
    batch = x.shape[0]
    maps = functional.avg_pool2d(x.flatten(0, 1).permute(0, 3, 1, 2), factor)
    return torch.unflatten(maps.permute(0, 2, 3, 1), 0, (batch, -1))


def _upsample(x: Tensor, *, height: int, width: int) -> Tensor:
    batch = x.shape[0]
    maps = functional.interpolate(
        x.flatten(0, 1).permute(0, 3, 1, 2),
        size=(height, width),
        mode="bilinear",
        align_corners=True,
    )
    return torch.unflatten(maps.permute(0, 2, 3, 1), 0, (batch, -1))
