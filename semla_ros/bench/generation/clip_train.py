"""Training a task's adapter of the CLIP image tower; recall of images and captions under one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from semla_ros.bench.generation.clip_tasks import ClipTask, Pairs
from semla_ros.bench.generation.clip_tower import ImageTower
from semla_ros.core.types import LoraAdapter, LoraLayer
from semla_ros.prepare.training.contrastive import contrastive_loss

LOGIT_SCALE = 1.0 / 0.07
"""The initial value of Radford et al., 2021: a bundle's graphs do not hold the learnt one."""
RECALL_AT = (1, 5, 10)


@dataclass(frozen=True, slots=True)
class TaskTraining:
    """How a task is learnt.

    Attributes:
        epochs: Over its images.
        batch: Images of a step.
        learning_rate: Of Adam.
        snapshots: The last so many epochs are kept.
        seed: Of the order of images.
    """

    epochs: int = 20
    batch: int = 12
    learning_rate: float = 2e-3
    snapshots: int = 10
    seed: int = 0


def train_task(
    tower: ImageTower, task: ClipTask, start: LoraAdapter, how: TaskTraining
) -> list[LoraAdapter]:
    """Return the adapter after each of the last epochs, trained from `start`."""
    rng = np.random.default_rng([how.seed, *task.name.encode()])
    a = {n: nn.Parameter(torch.from_numpy(x.lora_a.copy())) for n, x in start.layers.items()}
    b = {n: nn.Parameter(torch.from_numpy(x.lora_b.copy())) for n, x in start.layers.items()}
    scaling = {n: x.scaling for n, x in start.layers.items()}
    optimiser = torch.optim.Adam([*a.values(), *b.values()], lr=how.learning_rate)
    kept = []
    for epoch in range(how.epochs):
        order = rng.permutation(len(task.train.images))
        for first in range(0, len(order) - how.batch + 1, how.batch):
            rows = torch.from_numpy(order[first : first + how.batch])
            columns = torch.from_numpy(rng.integers(0, task.train.texts.shape[1], how.batch))
            images = tower.embed(
                task.train.images[rows], {n: scaling[n] * (b[n] @ a[n]) for n in a}
            )
            loss = contrastive_loss(
                images, task.train.texts[rows, columns], torch.tensor(LOGIT_SCALE)
            )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        if epoch >= how.epochs - how.snapshots:
            kept.append(LoraAdapter(task.name, {n: _layer(a[n], b[n], scaling[n]) for n in a}))
    return kept


def recall(tower: ImageTower, pairs: Pairs, changes: Mapping[str, Tensor]) -> dict[str, float]:
    """Return `i2t@k` and `t2i@k` in percent: images find their caption, captions their image.

    The first caption of each image counts; images with the same caption are as good.
    """
    with torch.no_grad():
        images = tower.embed(pairs.images, changes)
    cosines = (images @ pairs.texts[:, 0].T).numpy()
    words = pairs.captions[:, 0]
    same = words[:, None] == words
    found = {}
    for name, table in (("i2t", cosines), ("t2i", cosines.T)):
        own = np.diag(table)[:, None]
        rank = ((table > own) & ~same).sum(axis=1)
        for k in RECALL_AT:
            found[f"{name}@{k}"] = 100.0 * float((rank < k).mean())
    return found


def _layer(a: nn.Parameter, b: nn.Parameter, scaling: float) -> LoraLayer:
    return LoraLayer(a.detach().numpy().copy(), b.detach().numpy().copy(), scaling)
