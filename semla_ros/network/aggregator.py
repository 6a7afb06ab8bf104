"""CAT-Seg's cost aggregation: shifted windows over space, then attention over classes.

Cost volumes are channels-last, (B, T, H, W, C): T classes, one map each.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from semla_ros.network.class_attention import ClassAttention
from semla_ros.network.config import MLP_RATIO, CatSegConfig

_MASKED = -100.0
"""Added to the attention score of two patches that the cyclic shift brought together."""


class WindowAttention(nn.Module):
    """Self-attention inside windows; queries and keys also see the appearance guidance."""

    def __init__(self, dim: int, guidance_dim: int, heads: int) -> None:
        super().__init__()
        self.dim = dim
        self.heads = heads
        self.q = nn.Linear(dim + guidance_dim, dim)
        self.k = nn.Linear(dim + guidance_dim, dim)
        self.v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return (N, windows, P, dim) of `x` (N, windows, P, dim + guidance_dim).

        `mask` (windows, 1, P, P) is added to the scores.
        """
        query, key = self._heads(self.q(x)), self._heads(self.k(x))
        value = self._heads(self.v(x[..., : self.dim]))
        scores = (query * (self.dim // self.heads) ** -0.5) @ key.transpose(-1, -2)
        if mask is not None:
            scores = scores + mask
        mixed = (scores.softmax(dim=-1) @ value).transpose(2, 3).flatten(3)
        out: Tensor = self.proj(mixed)
        return out

    def _heads(self, x: Tensor) -> Tensor:
        return torch.unflatten(x, -1, (self.heads, -1)).transpose(2, 3)


class SwinMlp(nn.Module):
    """Two linear layers around the exact GELU."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, MLP_RATIO * dim)
        self.fc2 = nn.Linear(MLP_RATIO * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., dim)."""
        out: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return out


class SwinBlock(nn.Module):
    """One window-attention block, shifted by `shift` patches (0: not shifted)."""

    attn_mask: Tensor | None

    def __init__(self, config: CatSegConfig, shift: int) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.window = config.window
        self.shift = shift
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, config.appearance_dim, config.aggregator_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = SwinMlp(dim)
        mask = shift_mask(config.grid, window=config.window, shift=shift) if shift else None
        self.register_buffer("attn_mask", mask, persistent=False)

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        """Return (N, H, W, dim); `guidance` (N, H, W, guidance_dim) is already normalised."""
        height, width = x.shape[1:3]
        seen = torch.cat([self.norm1(x), guidance], dim=-1)
        if self.shift:
            seen = torch.roll(seen, (-self.shift, -self.shift), dims=(1, 2))
        mixed = self.attn(to_windows(seen, self.window), self.attn_mask)
        mixed = from_windows(mixed, self.window, height=height, width=width)
        if self.shift:
            mixed = torch.roll(mixed, (self.shift, self.shift), dims=(1, 2))
        x = x + mixed
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class SwinPair(nn.Module):
    """A plain and a shifted block, applied to every class map on its own."""

    def __init__(self, config: CatSegConfig) -> None:
        super().__init__()
        self.block_1 = SwinBlock(config, shift=0)
        self.block_2 = SwinBlock(config, shift=config.window // 2)
        self.guidance_norm = nn.LayerNorm(config.appearance_dim)

    def forward(self, x: Tensor, appearance: Tensor) -> Tensor:
        """Return (B, T, H, W, dim); `appearance` is (B, H, W, appearance_dim)."""
        batch, classes = x.shape[:2]
        guidance = self.guidance_norm(appearance).unsqueeze(1)
        guidance = guidance.expand(-1, classes, -1, -1, -1).flatten(0, 1)
        x = self.block_2(self.block_1(x.flatten(0, 1), guidance), guidance)
        return torch.unflatten(x, 0, (batch, classes))


class AggregatorLayer(nn.Module):
    """Space, then classes."""

    def __init__(self, config: CatSegConfig) -> None:
        super().__init__()
        self.swin_block = SwinPair(config)
        self.attention = ClassAttention(config)

    def forward(self, x: Tensor, appearance: Tensor, text: Tensor) -> Tensor:
        """Return (B, T, H, W, dim)."""
        out: Tensor = self.attention(self.swin_block(x, appearance), text)
        return out


def to_windows(x: Tensor, window: int) -> Tensor:
    """Return (N, windows, window * window, C) of `x` (N, H, W, C)."""
    x = torch.unflatten(torch.unflatten(x, 2, (-1, window)), 1, (-1, window))
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def from_windows(x: Tensor, window: int, *, height: int, width: int) -> Tensor:
    """Return (N, height, width, C), the inverse of `to_windows`."""
    x = torch.unflatten(x, 2, (window, window))
    x = torch.unflatten(x, 1, (height // window, width // window))
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def shift_mask(grid: int, *, window: int, shift: int) -> Tensor:
    """Return (windows, 1, P, P): 0 between neighbours, -100 between patches the shift joined.

    Source: Swin Transformer, section 3.2 (cyclic shift with masking).
    """
    edge = torch.zeros(grid, dtype=torch.long)
    edge[grid - window : grid - shift] = 1
    edge[grid - shift :] = 2
    region = (3 * edge[:, None] + edge[None, :]).view(1, grid, grid, 1)
    labels = to_windows(region, window)[0, :, :, 0]
    joined = labels[:, None, :, None] != labels[:, None, None, :]
    return joined.to(torch.float32) * _MASKED
