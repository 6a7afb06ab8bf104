"""Training a task's adapter of the CLIP image tower; recall of images and captions under one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from semla_ros.bench.generation.clip_tasks import ClipTask, Pairs
from semla_ros.bench.generation.clip_tower import ImageTower
from semla_ros.core.types import Int64Array, LoraAdapter, LoraLayer
from semla_ros.prepare.training.contrastive import LOGIT_SCALE

RECALL_AT = (1, 5, 10)


@dataclass(frozen=True, slots=True)
class TaskTraining:
    """How a task is learnt.

    Attributes:
        epochs: Over its images.
        batch: Own images of a step.
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
    tower: ImageTower,
    task: ClipTask,
    others: Sequence[ClipTask],
    start: LoraAdapter,
    how: TaskTraining,
) -> list[LoraAdapter]:
    """Return the adapter after each of the last epochs, trained from `start`.

    A step shows `batch` pairs of the task and as many of `others`, from which the task's images
    and captions are told apart; those of `others` are asked for nothing.
    """
    rng = np.random.default_rng([how.seed, *task.name.encode()])
    a = {n: nn.Parameter(torch.from_numpy(x.lora_a.copy())) for n, x in start.layers.items()}
    b = {n: nn.Parameter(torch.from_numpy(x.lora_b.copy())) for n, x in start.layers.items()}
    scaling = {n: x.scaling for n, x in start.layers.items()}
    optimiser = torch.optim.Adam([*a.values(), *b.values()], lr=how.learning_rate)
    strange = Pairs(
        torch.cat([each.train.images for each in others]),
        torch.cat([each.train.texts for each in others]),
    )
    kept = []
    for epoch in range(how.epochs):
        order = rng.permutation(len(task.train.images))
        for first in range(0, len(order) - how.batch + 1, how.batch):
            own = _drawn(task.train, order[first : first + how.batch], rng)
            far = _drawn(strange, rng.choice(len(strange.images), how.batch, replace=False), rng)
            changes = {n: scaling[n] * (b[n] @ a[n]) for n in a}
            loss = _loss(tower.embed(torch.cat([own[0], far[0]]), changes), own[1], far[1])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        if epoch >= how.epochs - how.snapshots:
            kept.append(LoraAdapter(task.name, {n: _layer(a[n], b[n], scaling[n]) for n in a}))
    return kept


def recall(
    tower: ImageTower, own: Pairs, others: Sequence[Pairs], changes: Mapping[str, Tensor]
) -> dict[str, float]:
    """Return how well a task's pairs find one another among those of other places, in percent.

    A caption of the task is right for each of its images, and an image for each of its captions,
    for they say the same of the place. `i2t@k`, `t2i@k`: one of the first k is right; `i2t@R`,
    `t2i@R`: the share of the first R that is, of R right ones (R-precision). The first caption of
    each image counts.
    """
    with torch.no_grad():
        images = torch.cat([tower.embed(each.images, changes) for each in (own, *others)])
    texts = torch.cat([each.texts[:, 0] for each in (own, *others)])
    count = len(own.images)
    found = {}
    for name, asked, known in (("i2t", images, texts), ("t2i", texts, images)):
        order = (asked[:count] @ known.T).argsort(dim=1, descending=True, stable=True)
        right = (order < count).numpy()
        for k in RECALL_AT:
            found[f"{name}@{k}"] = 100.0 * float(right[:, :k].any(axis=1).mean())
        found[f"{name}@R"] = 100.0 * float(right[:, :count].mean())
    return found


def _drawn(pairs: Pairs, rows: Int64Array, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return the images of `rows`, and one of each image's captions."""
    columns = rng.integers(0, pairs.texts.shape[1], len(rows))
    return pairs.images[rows], pairs.texts[rows, columns]


def _loss(images: Tensor, own: Tensor, far: Tensor) -> Tensor:
    """Return the symmetric InfoNCE loss of the first pairs, the others being wrong answers."""
    logits = LOGIT_SCALE * images @ torch.cat([own, far]).T
    count = len(own)
    target = torch.arange(count)
    return 0.5 * (
        nn.functional.cross_entropy(logits[:count], target)
        + nn.functional.cross_entropy(logits.T[:count], target)
    )


def _layer(a: nn.Parameter, b: nn.Parameter, scaling: float) -> LoraLayer:
    return LoraLayer(a.detach().numpy().copy(), b.detach().numpy().copy(), scaling)
