"""The training loop shared by the base network and by adapters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from semla_ros.core.errors import TrainingError
from semla_ros.network.catseg import CatSeg
from semla_ros.prepare.training.samples import IGNORE, LabelledImages, draw_batch

Prompts = Callable[[np.random.Generator], Tensor]
"""Draws the token ids (T, L) of one prompt per class; synonyms may vary from step to step."""


@dataclass(frozen=True, slots=True)
class FitOptions:
    """How long and how fast.

    Attributes:
        steps: Optimiser steps, >= 1.
        batch_size: Images per step.
        learning_rate: Peak of a cosine schedule with a linear warm-up over a tenth of the steps.
        weight_decay: AdamW's, on matrices only.
        clip_norm: Largest gradient norm.
        balance: Pixels weigh (frequency of their class in the batch) ** -balance; 0 is CAT-Seg's
            plain mean, 0.5 lets thin and rare things be learnt in few steps.
        seed: Of the batches.
        title: Shown beside the progress bar.
    """

    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    balance: float = 0.0
    seed: int = 0
    title: str = "train"

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1 or not self.learning_rate > 0:
            raise TrainingError(
                f"expected steps, batch_size >= 1 and learning_rate > 0, got {self.steps!r}, "
                f"{self.batch_size!r}, {self.learning_rate!r}"
            )


def fit(
    model: CatSeg,
    parameters: Sequence[nn.Parameter],
    source: LabelledImages,
    prompts: Prompts,
    options: FitOptions,
) -> float:
    """Train `parameters` of `model` in place and return the mean loss of the last tenth.

    The loss is CAT-Seg's: binary cross entropy of every class at every pixel, balanced if asked
    for. Ignored pixels are masked (the original trains them as "no class").

    Raises:
        TrainingError: The loss is no longer finite.
    """
    if not len(source):
        raise TrainingError("expected at least one labelled image, got none")
    rng = np.random.default_rng(options.seed)

    def loss_of_batch() -> Tensor:
        batch = draw_batch(
            source, rng, batch_size=options.batch_size, size=model.config.resolution
        )
        logits = model(batch.image, model.encode_text(prompts(rng)))
        return pixel_loss(logits, batch.labels, balance=options.balance)

    optimiser = _optimiser(parameters, options)
    return descend(model, loss_of_batch, optimiser, parameters, options)


def descend(
    model: nn.Module,
    draw_loss: Callable[[], Tensor],
    optimiser: torch.optim.Optimizer,
    parameters: Sequence[nn.Parameter],
    options: FitOptions,
) -> float:
    """Train in place and return the mean loss of the last tenth.

    Args:
        model: Is in evaluation mode afterwards.
        draw_loss: The loss of the next batch.
        optimiser: Of `parameters`.
        parameters: Their gradients are clipped.
        options: Steps, clipping, title.

    Raises:
        TrainingError: The loss is no longer finite.
    """
    schedule = cosine_schedule(optimiser, options.steps)
    model.train()
    losses: list[float] = []
    for _ in (bar := tqdm(range(options.steps), desc=options.title, mininterval=5.0)):
        loss = draw_loss()
        losses.append(float(loss.detach()))
        bar.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
        if not np.isfinite(losses[-1]):
            raise TrainingError(f"the loss became {losses[-1]!r}: lower the learning rate")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, options.clip_norm)
        optimiser.step()
        schedule.step()
    model.eval()
    return float(np.mean(losses[-max(1, len(losses) // 10) :]))


def pixel_loss(logits: Tensor, labels: Tensor, *, balance: float = 0.0) -> Tensor:
    """Return the mean binary cross entropy of logits (B, T, h, w) against labels (B, S, S)."""
    size = (labels.shape[1], labels.shape[2])
    full = functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)
    known = labels != IGNORE
    target = functional.one_hot(labels.where(known, 0), full.shape[1]).permute(0, 3, 1, 2)
    losses = functional.binary_cross_entropy_with_logits(full, target.float(), reduction="none")
    weight = pixel_weights(labels, full.shape[1], balance=balance)[:, None]
    return (losses * weight).sum() / (weight.sum() * full.shape[1]).clamp_min(1e-6)


def pixel_weights(labels: Tensor, classes: int, *, balance: float) -> Tensor:
    """Return weights (B, S, S): 0 where ignored, else (class frequency) ** -balance.

    Frequencies below 1e-4 count as 1e-4.
    """
    known = labels != IGNORE
    counts = torch.bincount(labels[known], minlength=classes).float()
    of_class = (counts / counts.sum().clamp_min(1.0)).clamp_min(1e-4) ** -balance
    return of_class[labels.where(known, 0)] * known


def cosine_schedule(
    optimiser: torch.optim.Optimizer, steps: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """Return a cosine decay to zero after a linear warm-up over a tenth of `steps`."""
    warm = max(1, steps // 10)

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + float(np.cos(np.pi * (step - warm) / max(1, steps - warm))))

    return torch.optim.lr_scheduler.LambdaLR(optimiser, factor)


def _optimiser(parameters: Iterable[nn.Parameter], options: FitOptions) -> torch.optim.AdamW:
    matrices: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    for parameter in parameters:
        (matrices if parameter.ndim >= 2 else vectors).append(parameter)
    groups = [
        {"params": matrices, "weight_decay": options.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=options.learning_rate)
