"""CAT-Seg: cosine cost volume of CLIP features and class texts, aggregated into class maps.

The module tree, and so every state dict key, is that of the official checkpoints.
Source: Cho et al., CAT-Seg: Cost Aggregation for Open-Vocabulary Semantic Segmentation, 2024.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from semla_ros.network.aggregator import AggregatorLayer
from semla_ros.network.clip import Clip
from semla_ros.network.config import CatSegConfig
from semla_ros.network.decoder import decoder_stages, guidance_projection
from semla_ros.network.initialise import initialise_aggregator, initialise_clip

ABSENT_LOGIT = -100.0
"""Logit of a class that was not among the `pad_len` most similar ones."""


@dataclass(frozen=True)
class Guidance:
    """Image features that steer the aggregation.

    Attributes:
        dense: (B, embed_dim, grid, grid), CLIP's dense embedding.
        half: (B, tap_dims[0], 2 grid, 2 grid).
        quarter: (B, tap_dims[1], 4 grid, 4 grid).
    """

    dense: Tensor
    half: Tensor
    quarter: Tensor


class Aggregator(nn.Module):
    """From image features and class texts to one logit map per class.

    Of more than `pad_len` classes only the `pad_len` whose best patch is most similar are
    aggregated, image by image; the others get `ABSENT_LOGIT`, as in the official code.

    Attributes:
        pad_len: how many classes one image can tell apart.
        always_select: take the way through the selection for short lists too, where it keeps
            every class in its place: a graph for lists of any length cannot branch.
    """

    def __init__(self, config: CatSegConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.pad_len = config.pad_len
        self.always_select = False
        self.layers = nn.ModuleList(
            AggregatorLayer(config) for _ in range(config.aggregator_layers)
        )
        self.conv1 = nn.Conv2d(1, dim, 7, padding=3)
        self.guidance_projection = guidance_projection(config.embed_dim, config.appearance_dim)
        self.text_guidance_projection = nn.Sequential(
            nn.Linear(config.embed_dim, config.text_guidance_dim), nn.ReLU()
        )
        self.decoder_guidance_projection = nn.ModuleList(
            guidance_projection(source, target)
            for source, target in zip(config.tap_dims, config.decoder_guidance_dims, strict=True)
        )
        self.decoder1, self.decoder2 = decoder_stages(config)
        self.head = nn.Conv2d(config.decoder_dims[1], 1, 3, padding=1)

    def forward(self, guidance: Guidance, text: Tensor) -> Tensor:
        """Return logits (B, T, 4 grid, 4 grid); `text` (T, embed_dim) is L2-normalised."""
        image = functional.normalize(guidance.dense, dim=1)
        batch, _, height, width = image.shape
        cost = torch.unflatten(text @ image.flatten(2), 2, (height, width))
        texts = text.expand(batch, -1, -1)
        if text.shape[0] <= self.pad_len and not self.always_select:
            return self._aggregate(cost, texts, guidance)
        return self._aggregate_most_similar(cost, texts, guidance)

    def _aggregate_most_similar(self, cost: Tensor, texts: Tensor, guidance: Guidance) -> Tensor:
        count = torch.sym_min(cost.shape[1], self.pad_len)  # type: ignore[no-untyped-call]
        best = cost.flatten(2).amax(dim=2).topk(count, dim=1).indices
        kept = best.sort(dim=1).values[..., None, None]
        logits = self._aggregate(
            cost.gather(1, kept.expand(-1, -1, *cost.shape[2:])),
            texts.gather(1, kept[..., 0].expand(-1, -1, texts.shape[2])),
            guidance,
        )
        full = logits.new_full((*cost.shape[:2], *logits.shape[2:]), ABSENT_LOGIT)
        return full.scatter(1, kept.expand(-1, -1, *logits.shape[2:]), logits)

    def _aggregate(self, cost: Tensor, texts: Tensor, guidance: Guidance) -> Tensor:
        batch = cost.shape[0]
        embedded = self.conv1(cost.flatten(0, 1).unsqueeze(1)).permute(0, 2, 3, 1)
        x = torch.unflatten(embedded, 0, (batch, -1))
        appearance = self.guidance_projection(guidance.dense).permute(0, 2, 3, 1)
        text = self.text_guidance_projection(texts)
        for layer in self.layers:
            x = layer(x, appearance, text)
        half, quarter = self.decoder_guidance_projection
        maps = x.flatten(0, 1).permute(0, 3, 1, 2)
        maps = self.decoder1(maps, half(guidance.half))
        maps = self.decoder2(maps, quarter(guidance.quarter))
        return torch.unflatten(self.head(maps).squeeze(1), 0, (batch, -1))


class Predictor(nn.Module):
    """Names the two halves of the network as checkpoints do."""

    def __init__(self, config: CatSegConfig) -> None:
        super().__init__()
        self.clip_model = Clip(config)
        self.transformer = Aggregator(config)


class SemSegHead(nn.Module):
    """Names the predictor as checkpoints do."""

    def __init__(self, config: CatSegConfig) -> None:
        super().__init__()
        self.predictor = Predictor(config)


def pixel_statistics(config: CatSegConfig) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of RGB 0..255, each (3, 1, 1)."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (config.pixel_mean, config.pixel_std))
    return mean, std


class CatSeg(nn.Module):
    """The whole network, freshly initialised from torch's global generator."""

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, config: CatSegConfig) -> None:
        super().__init__()
        self.config = config
        width = config.vision_width
        self.sem_seg_head = SemSegHead(config)
        self.upsample1 = nn.ConvTranspose2d(width, config.tap_dims[0], 2, stride=2)
        self.upsample2 = nn.ConvTranspose2d(width, config.tap_dims[1], 4, stride=4)
        mean, std = pixel_statistics(config)
        self.register_buffer("pixel_mean", mean, persistent=False)
        self.register_buffer("pixel_std", std, persistent=False)
        initialise_clip(self.clip)
        initialise_aggregator(self.aggregator)

    @property
    def clip(self) -> Clip:
        """CLIP's two towers."""
        return self.sem_seg_head.predictor.clip_model

    @property
    def aggregator(self) -> Aggregator:
        """Everything behind the cost volume."""
        return self.sem_seg_head.predictor.transformer

    def normalise(self, image: Tensor) -> Tensor:
        """Return images (B, 3, H, W) RGB 0..255 with CLIP's mean and deviation taken out."""
        return (image - self.pixel_mean) / self.pixel_std

    def forward(
        self, image: Tensor, text_features: Tensor, second_tap: Tensor | None = None
    ) -> Tensor:
        """Return logits (B, T, 4 grid, 4 grid), before the sigmoid.

        Args:
            image: (B, 3, resolution, resolution) float, RGB 0..255.
            text_features: (T, embed_dim), L2-normalised, from `encode_text`.
            second_tap: (1,) integer, which tap the quarter-size guidance reads: 2, as the base
                was trained (also without the argument), or 1, as SemLA's adapters were trained:
                its code registers the feature hooks twice, and the first tap is read again.
        """
        features = self.clip.visual(self.normalise(image))
        first, second = features.taps
        if second_tap is not None:
            second = torch.where(second_tap == 1, first, second)
        guidance = Guidance(features.embedding, self.upsample1(first), self.upsample2(second))
        out: Tensor = self.aggregator(guidance, text_features)
        return out

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Return L2-normalised text features (T, embed_dim) of token ids (T, L), int64."""
        return self.clip.encode_text(tokens)
