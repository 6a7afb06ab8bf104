"""Single steps: what accelerate made of a problem, and what fits into memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from semla_ros.core.errors import TrainingError
from semla_ros.prepare.training.hardware import Hardware, accelerator_of, is_out_of_memory
from semla_ros.prepare.training.objective import Objective, Prompts
from semla_ros.prepare.training.recipe import Recipe
from semla_ros.prepare.training.samples import Batch, LabelledImages, View, draw_batch
from semla_ros.prepare.training.schedule import Group, optimiser_of, set_step


@dataclass(frozen=True, slots=True)
class Problem:
    """What is trained, on what.

    Attributes:
        objective: The loss, with the network in it.
        parameters: Name -> what is trained.
        groups: The same with their rates and decays.
        train: Labelled images to learn from.
        held_out: Labelled images to judge by; empty: nothing is judged, the last state counts.
        prompts: Draws the class prompts of a step.
        tokens: The prompts that are served, (T, L) int64.
    """

    objective: Objective
    parameters: Mapping[str, nn.Parameter]
    groups: Sequence[Group]
    train: LabelledImages
    held_out: LabelledImages | tuple[()]
    prompts: Prompts
    tokens: Tensor


class Steps:
    """Takes the steps of a problem; what a step does is decided by its number."""

    def __init__(self, problem: Problem, recipe: Recipe, hardware: Hardware) -> None:
        """Prepare network and optimiser.

        Raises:
            TrainingError: Nothing to train on, or hardware that is not there.
        """
        if not len(problem.train):
            raise TrainingError("expected at least one labelled image to train on, got none")
        self.problem, self.recipe = problem, recipe
        self.accelerator: Accelerator = accelerator_of(
            hardware.resolved(),
            accumulate=recipe.accumulate,
            idle=not len(problem.objective.changes),  # of a base not all weights have a part
        )
        self.device = self.accelerator.device
        self.view = View.of(recipe, size=problem.objective.network.size)
        self.share = _share(recipe, self.accelerator.num_processes)
        self.optimiser = optimiser_of(problem.groups, recipe)
        self.network, self.stepper = self.accelerator.prepare(problem.objective, self.optimiser)
        self.every = [p for group in problem.groups for p in group.parameters]

    def take(self, step: int) -> float:
        """Take one step and return its mean loss.

        Raises:
            TrainingError: The loss is not finite.
        """
        set_step(self.optimiser, self.recipe, step)
        loss = self.gradients(step)
        if not np.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss!r} at step {step}: expected a finite one; lower "
                f"learning_rate {self.recipe.learning_rate!r}, or train with --precision f32"
            )
        self.accelerator.clip_grad_norm_(self.every, self.recipe.clip_norm)
        self.stepper.step()
        self.stepper.zero_grad()
        return loss

    def gradients(self, step: int) -> float:
        """Sum the gradients of a step's parts and return the mean loss."""
        total = 0.0
        for part in range(self.recipe.accumulate):
            batch, tokens = self._drawn(step, part)
            with self.accelerator.accumulate(self.network), self.accelerator.autocast():
                loss = self.network(batch.image, batch.labels, tokens)
                self.accelerator.backward(loss)
            total += float(loss.detach()) / self.recipe.accumulate
        return total

    def forget_gradients(self) -> None:
        """Drop what `gradients` summed."""
        self.stepper.optimizer.zero_grad(set_to_none=True)

    def memory_advice(self, why: str) -> str:
        """Return what to say of a step that does not fit: which part of its batch would."""
        fits = self.share // 2
        while fits and not self._fits(fits):
            fits //= 2
        asked = self.recipe.batch
        parts = f"{self.recipe.accumulate * self.share} images are {self.share} at a time"
        if not fits:
            return f"out of memory ({why}): not one image fits: take a smaller crop or network"
        processes = self.accelerator.num_processes
        each = asked // processes
        more = next(n for n in range(1, each + 1) if each % n == 0 and each // n <= fits)
        return (
            f"out of memory ({why}) at batch {asked}, where {parts}: {fits} at a time would fit: "
            f"--set accumulate={more} (or batch={fits * self.recipe.accumulate * processes})"
        )

    def _fits(self, images: int) -> bool:
        self.forget_gradients()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        try:
            batch, tokens = self._drawn(0, 0, images=images)
            with self.accelerator.autocast():
                self.accelerator.backward(self.network(batch.image, batch.labels, tokens))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return False
        finally:
            self.forget_gradients()
        return True

    def _drawn(self, step: int, part: int, *, images: int = 0) -> tuple[Batch, Tensor]:
        """Return a part of a step's batch, decided by seed, step, part and process alone."""
        seeds = [self.recipe.seed, step, part, self.accelerator.process_index]
        rng = np.random.default_rng(seeds)
        batch = draw_batch(
            self.problem.train, rng, batch_size=images or self.share, view=self.view
        )
        tokens = self.problem.prompts(rng)
        on = self.device
        return Batch(batch.image.to(on), batch.labels.to(on)), tokens.to(on)


def _share(recipe: Recipe, processes: int) -> int:
    """Return how many images a process takes at a time."""
    parts = recipe.accumulate * processes
    if recipe.batch % parts:
        raise TrainingError(
            f"expected a batch that {recipe.accumulate} parts on {processes} processes divide, "
            f"got {recipe.batch}: set batch or accumulate"
        )
    return recipe.batch // parts
