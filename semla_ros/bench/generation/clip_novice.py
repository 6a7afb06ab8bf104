"""The network that tasks adapt: an image tower that has seen clear weather alone.

The demo's own CLIP was trained on every kind of weather, so that adapters have nothing to add. The
novice learns to tell day from night, against a text tower that knows the words for the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from semla_ros.bench.generation.clip_tower import ImageTower
from semla_ros.bench.generation.scenes import CaptionedScenes
from semla_ros.navigator.text_encoder import TextEncoder
from semla_ros.prepare.bundler.clip import ClipSize, create_clip
from semla_ros.prepare.training.contrastive import LOGIT_SCALE, contrastive_loss, flipped
from semla_ros.prepare.training.descent import FitOptions, descend

KNOWN = ("clear-day", "clear-night")
"""Domains that the novice is trained on."""
TRAINING = FitOptions(steps=80, batch_size=64, learning_rate=1e-3, weight_decay=0.05)


def train_novice(
    scenes: Sequence[CaptionedScenes], text: TextEncoder, options: FitOptions
) -> ImageTower:
    """Return a tower trained on `scenes` against the embeddings of their captions.

    Raises:
        TrainingError: The loss is no longer finite.
    """
    images = torch.from_numpy(np.concatenate([each.images for each in scenes]))
    texts = torch.cat([each.texts(text) for each in scenes])
    size = replace(ClipSize(), embed_dim=texts.shape[-1])
    module = create_clip(size, seed=options.seed).visual
    rng = np.random.default_rng(options.seed)

    def loss_of_batch() -> Tensor:
        rows = rng.choice(len(images), options.batch_size, replace=False)
        columns = rng.integers(0, texts.shape[1], options.batch_size)
        seen = nn.functional.normalize(
            module(flipped(images[torch.from_numpy(rows)], rng)), dim=-1
        )
        return contrastive_loss(seen, texts[rows, columns], torch.tensor(LOGIT_SCALE))

    parameters = list(module.parameters())
    optimiser = torch.optim.AdamW(
        parameters, lr=options.learning_rate, weight_decay=options.weight_decay
    )
    descend(module, loss_of_batch, optimiser, parameters, options)
    return ImageTower(module.requires_grad_(False))
