"""CLIP's two transformers, with the dense last visual block and the taps that CAT-Seg reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from semla_ros.core.errors import TrainingError
from semla_ros.network.config import MLP_RATIO, CatSegConfig


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), the activation of OpenAI's CLIP."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the activation, same shape."""
        return x * torch.sigmoid(1.702 * x)


class Attention(nn.Module):
    """Multi-head self-attention whose q, k, v weights are separate parameters.

    A parameter named in `stored_in_out` lies transposed, (in, out): see `in_out`.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj_weight = nn.Parameter(torch.empty(width, width))
        self.k_proj_weight = nn.Parameter(torch.empty(width, width))
        self.v_proj_weight = nn.Parameter(torch.empty(width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        self.stored_in_out: frozenset[str] = frozenset()

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return attended tokens (B, L, width) of `x` (B, L, width); `mask` (L, L) is added."""
        query, key, value = (self._heads(self.project(x, letter)) for letter in "qkv")
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out

    def project(self, x: Tensor, letter: str) -> Tensor:
        """Return queries, keys or values (`letter` q, k or v), (B, L, width)."""
        weight: Tensor = getattr(self, f"{letter}_proj_weight")
        start = "qkv".index(letter) * weight.shape[1]
        bias = self.in_proj_bias[start : start + weight.shape[1]]
        if f"{letter}_proj_weight" in self.stored_in_out:
            return x @ weight + bias
        return functional.linear(x, weight, bias)

    def _heads(self, x: Tensor) -> Tensor:
        return torch.unflatten(x, -1, (self.heads, -1)).transpose(1, 2)


class Mlp(nn.Module):
    """Two linear layers around QuickGELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, MLP_RATIO * width)
        self.gelu = QuickGELU()
        self.c_proj = nn.Linear(MLP_RATIO * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., width)."""
        out: Tensor = self.c_proj(self.gelu(self.c_fc(x)))
        return out


class ResidualBlock(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = Attention(width, heads)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = Mlp(width)
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return (B, L, width)."""
        x = x + self.attn(self.ln_1(x), mask)
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out

    def forward_dense(self, x: Tensor) -> Tensor:
        """Return (B, L, width) where every token keeps its own value instead of attending.

        The residual is the class token for all tokens, as in the official code; checkpoints were
        trained with it.
        """
        values = self.attn.out_proj(self.attn.project(self.ln_1(x), "v"))
        x = values + x[:, :1]
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


class Transformer(nn.Module):
    """A stack of residual blocks."""

    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(ResidualBlock(width, heads) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return (B, L, width) after every block."""
        for block in self.blocks():
            x = block(x, mask)
        return x

    def blocks(self) -> list[ResidualBlock]:
        """Return the blocks, first to last."""
        return [block for block in self.resblocks if isinstance(block, ResidualBlock)]


@dataclass(frozen=True)
class DenseFeatures:
    """What the image tower gives the segmenter.

    Attributes:
        embedding: (B, embed_dim, grid, grid) in the space of the text embeddings.
        taps: two intermediate block outputs, (B, vision_width, grid, grid).
    """

    embedding: Tensor
    taps: tuple[Tensor, Tensor]


class VisionTransformer(nn.Module):
    """CLIP's image tower; position embeddings are resized to the configured grid."""

    def __init__(self, config: CatSegConfig) -> None:
        super().__init__()
        width = config.vision_width
        self.grid = config.grid
        self.position_grid = config.position_grid
        self.taps = config.taps
        self.conv1 = nn.Conv2d(3, width, config.patch, stride=config.patch, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(config.position_grid**2 + 1, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, config.vision_heads, config.vision_layers)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.empty(width, config.embed_dim))

    def forward(self, image: Tensor) -> DenseFeatures:
        """Return dense features of normalised images (B, 3, resolution, resolution)."""
        x = self._embed(image)
        outputs: list[Tensor] = []
        *blocks, last = self.transformer.blocks()
        for block in blocks:
            x = block(x)
            outputs.append(x)
        dense = self.ln_post(last.forward_dense(x)) @ self.proj
        first, second = self.taps
        return DenseFeatures(
            self._to_map(dense), (self._to_map(outputs[first]), self._to_map(outputs[second]))
        )

    def encode_image(self, image: Tensor) -> Tensor:
        """Return CLIP's own embedding (B, embed_dim), not normalised, of normalised images."""
        x = self.transformer(self._embed(image))
        out: Tensor = self.ln_post(x[:, 0]) @ self.proj
        return out

    def resized_positions(self) -> Tensor:
        """Return position embeddings (1 + grid * grid, width), bicubic where the grids differ."""
        stored = self.positional_embedding
        side = self.position_grid
        if side == self.grid:
            return stored
        grid = stored[1:].T.reshape(1, -1, side, side)
        size = (self.grid, self.grid)
        grid = functional.interpolate(grid, size=size, mode="bicubic", align_corners=False)
        return torch.cat([stored[:1], grid[0].flatten(1).T])

    def _embed(self, image: Tensor) -> Tensor:
        patches = self.conv1(image).flatten(2).transpose(1, 2)
        token = self.class_embedding.expand(patches.shape[0], 1, -1)
        x: Tensor = self.ln_pre(torch.cat([token, patches], dim=1) + self.resized_positions())
        return x

    def _to_map(self, x: Tensor) -> Tensor:
        return torch.unflatten(x[:, 1:].transpose(1, 2), 2, (self.grid, self.grid))


def causal_mask(context: int) -> Tensor:
    """Return (context, context): 0 where a token may look, -inf at those after it."""
    return torch.full((context, context), float("-inf")).triu(1)


class Clip(nn.Module):
    """Image tower, text tower, and the temperature CAT-Seg checkpoints carry but never read."""

    causal_mask: Tensor

    def __init__(self, config: CatSegConfig) -> None:
        super().__init__()
        width, context = config.text_width, config.context_length
        self.visual = VisionTransformer(config)
        self.token_embedding = nn.Embedding(config.vocab_size, width)
        self.positional_embedding = nn.Parameter(torch.empty(context, width))
        self.transformer = Transformer(width, config.text_heads, config.text_layers)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, config.embed_dim))
        self.logit_scale = nn.Parameter(torch.tensor(1 / 0.07).log())
        self.register_buffer("causal_mask", causal_mask(context), persistent=False)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Return L2-normalised embeddings (T, embed_dim) of token ids (T, L), int64.

        L may be cropped to the longest prompt: attention is causal and the embedding is read at
        the end-of-text token, the largest id, so later tokens cannot matter.
        """
        length = tokens.shape[1]
        x = self.token_embedding(tokens) + self.positional_embedding[:length]
        x = self.ln_final(self.transformer(x, self.causal_mask[:length, :length]))
        end = tokens.argmax(dim=-1)
        x = x[torch.arange(tokens.shape[0], device=x.device), end]
        return functional.normalize(x @ self.text_projection, dim=-1)


def clip_state_from_open_clip(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return an open_clip CLIP state dict in CAT-Seg's `clip_model` layout.

    The fused `in_proj_weight` (3 width, width) becomes q, k and v weights; the rest keeps its
    name. The model must use QuickGELU and plain pre-norm blocks, as OpenAI's weights do.

    Raises:
        TrainingError: the state dict has tensors that this architecture has no place for.
    """
    converted: dict[str, Tensor] = {}
    for key, tensor in state.items():
        if key.endswith("attn.in_proj_weight"):
            stem = key.removesuffix("in_proj_weight")
            for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                converted[f"{stem}{letter}_proj_weight"] = part.clone()
        elif key != "attn_mask":
            converted[key] = tensor.clone()
    foreign = sorted(key for key in converted if "ls_1" in key or key == "logit_bias")
    if foreign or "visual.proj" not in converted:
        raise TrainingError(
            "expected the state dict of an open_clip CLIP with a plain ViT, got extra tensors "
            f"{foreign!r} and visual.proj {'visual.proj' in converted!r}; train without layer "
            "scale, logit bias or a timm tower"
        )
    return converted
