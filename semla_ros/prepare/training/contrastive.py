"""Contrastive training of a small CLIP on images and captions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from semla_ros.core.errors import TrainingError
from semla_ros.prepare.training.descent import FitOptions, descend

LOGIT_SCALE = 1.0 / 0.07
"""What logits are multiplied by where the factor is not learnt: the initial value of Radford et
al., 2021."""


@dataclass(frozen=True, slots=True)
class Captioned:
    """Normalised images (N, 3, S, S) float32 and, per image, several captions' token ids.

    Attributes:
        images: (N, 3, S, S).
        tokens: (N, C, L) int64, C captions each.
    """

    images: Tensor
    tokens: Tensor

    def __post_init__(self) -> None:
        if self.images.shape[0] != self.tokens.shape[0] or self.tokens.ndim != 3:
            raise TrainingError(
                f"expected tokens (N, C, L) for N = {self.images.shape[0]} images, "
                f"got {tuple(self.tokens.shape)}"
            )


def train_clip(model: Any, data: Captioned, options: FitOptions) -> float:  # noqa: ANN401
    """Train an open_clip CLIP in place and return the mean loss of the last tenth.

    Source: Radford et al., 2021, symmetric InfoNCE with a learned temperature of at most 100.

    Raises:
        TrainingError: The loss is no longer finite.
    """
    rng = np.random.default_rng(options.seed)

    def loss_of_batch() -> Tensor:
        rows = torch.from_numpy(rng.choice(len(data.images), options.batch_size, replace=False))
        columns = torch.from_numpy(rng.integers(0, data.tokens.shape[1], options.batch_size))
        images = flipped(data.images[rows], rng)
        return contrastive_loss(
            model.encode_image(images, normalize=True),
            model.encode_text(data.tokens[rows, columns], normalize=True),
            model.logit_scale.exp().clamp(max=100.0),
        )

    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        parameters, lr=options.learning_rate, weight_decay=options.weight_decay
    )
    return descend(model, loss_of_batch, optimiser, parameters, options)


def contrastive_loss(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """Return the symmetric InfoNCE loss of L2-normalised pairs (B, D), logits times `scale`."""
    logits = scale * images @ texts.T
    target = torch.arange(len(images))
    return 0.5 * (
        functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)
    )


def flipped(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Return `images` (N, 3, H, W) with half of them mirrored."""
    chosen = torch.from_numpy(rng.random(len(images)) < 0.5)
    return torch.where(chosen[:, None, None, None], images.flip(3), images)
