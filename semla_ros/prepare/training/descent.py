"""A plain descent, for what the demo makes before it has a CAT-Seg to train."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from semla_ros.core.errors import TrainingError


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
