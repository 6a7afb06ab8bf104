"""Aligns CLIP's dense image features with class prompts before the aggregator is trained.

A CLIP trained on little data tells scenes apart long before it tells things apart; the cost volume
then says nothing and CAT-Seg's per-class loss starts on a plateau. A softmax over classes at every
patch, where classes compete, leads off it in a few hundred cheap steps.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from semla_ros.network.catseg import CatSeg
from semla_ros.prepare.training.descent import FitOptions, descend
from semla_ros.prepare.training.objective import Prompts, pixel_weights
from semla_ros.prepare.training.samples import IGNORE, LabelledImages, View, draw_batch

TEMPERATURE = 0.07
"""Of the softmax over cosines. Source: Radford et al., 2021, the initial value."""


def align_dense(
    model: CatSeg, source: LabelledImages, prompts: Prompts, options: FitOptions
) -> float:
    """Train both CLIP towers of `model` in place and return the mean loss of the last tenth.

    Raises:
        TrainingError: The loss is no longer finite.
    """
    rng, view = np.random.default_rng(options.seed), View((model.config.resolution,) * 2)

    def loss_of_batch() -> Tensor:
        batch = draw_batch(source, rng, batch_size=options.batch_size, view=view)
        cosine = cosines(model, batch.image, prompts(rng))
        return alignment_loss(cosine, batch.labels, balance=options.balance)

    parameters = list(model.clip.parameters())
    optimiser = torch.optim.AdamW(
        parameters, lr=options.learning_rate, weight_decay=options.weight_decay
    )
    return descend(model, loss_of_batch, optimiser, parameters, options)


def cosines(model: CatSeg, image: Tensor, tokens: Tensor) -> Tensor:
    """Return the cosine (B, T, grid, grid) of every patch with every prompt."""
    dense = model.clip.visual(model.normalise(image)).embedding
    text = model.encode_text(tokens)
    return torch.einsum("bdhw,td->bthw", functional.normalize(dense, dim=1), text)


def alignment_loss(cosine: Tensor, labels: Tensor, *, balance: float = 0.0) -> Tensor:
    """Return the cross entropy of the softmax over classes (B, T, h, w) at labels (B, S, S)."""
    size = (labels.shape[1], labels.shape[2])
    full = functional.interpolate(cosine, size=size, mode="bilinear", align_corners=False)
    losses = functional.cross_entropy(
        full / TEMPERATURE, labels, ignore_index=IGNORE, reduction="none"
    )
    weight = pixel_weights(labels, full.shape[1], balance=balance)
    return (losses * weight).sum() / weight.sum().clamp_min(1e-6)
