"""Learning rate and weight decay at a step.

Functions of the step alone: what is resumed needs none of their state.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from semla_ros.prepare.training.recipe import POLY, Recipe

POWER = 0.9
"""Of the polynomial decay. Source: RecycleLoRA's and SoMA's configuration."""


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters with a rate and a decay of their own.

    Attributes:
        parameters: Not empty.
        rate: Factor of the learning rate.
        decay: Weight decay at the start.
    """

    parameters: tuple[nn.Parameter, ...]
    rate: float
    decay: float


def optimiser_of(groups: Sequence[Group], recipe: Recipe) -> torch.optim.AdamW:
    """Return AdamW over `groups`, set for step 0."""
    optimiser = torch.optim.AdamW(
        [{"params": g.parameters, "rate": g.rate, "decay": g.decay} for g in groups],
        lr=recipe.learning_rate,
    )
    set_step(optimiser, recipe, 0)
    return optimiser


def set_step(optimiser: torch.optim.Optimizer, recipe: Recipe, step: int) -> None:
    """Give every group the learning rate and the weight decay of `step`, counted from 0."""
    factor = rate_factor(recipe, step)
    for group in optimiser.param_groups:
        group["lr"] = recipe.learning_rate * group["rate"] * factor
        group["weight_decay"] = decay_at(recipe, group["decay"], step)


def rate_factor(recipe: Recipe, step: int) -> float:
    """Return the learning rate of `step` over its peak.

    Source: detectron2's WarmupCosineLR (the cosine runs from step 0 on, below the warm-up too);
    `poly` is mmengine's PolyLR, 0 at the last step.
    """
    if recipe.schedule == POLY:
        factor = float(max(0.0, 1.0 - step / max(1, recipe.steps - 1)) ** POWER)
    else:
        factor = 0.5 * (1.0 + math.cos(math.pi * step / recipe.steps))
    if step < recipe.warmup:
        part = step / recipe.warmup
        factor *= recipe.warmup_factor * (1.0 - part) + part
    return factor


def decay_at(recipe: Recipe, start: float, step: int) -> float:
    """Return the weight decay of `step` that begins as `start`.

    Source: SoMA's annealing weight decay, half a cosine down to its end over all steps.
    """
    end = recipe.weight_decay_end
    if end is None:
        return start
    return end + 0.5 * (start - end) * (1.0 + math.cos(math.pi * step / recipe.steps))


def full_groups(parameters: Iterable[nn.Parameter], decay: float) -> tuple[Group, ...]:
    """Return the groups of full training: matrices decay, vectors and scalars do not."""
    every = [p for p in parameters if p.requires_grad]
    matrices = tuple(p for p in every if p.ndim >= 2)
    vectors = tuple(p for p in every if p.ndim < 2)
    found = (Group(matrices, 1.0, decay), Group(vectors, 1.0, 0.0))
    return tuple(g for g in found if g.parameters)
