"""The training loop of adapters and bases: steps, evaluations, checkpoints, an early end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn
from tqdm import tqdm

from semla_ros.core.errors import TrainingError
from semla_ros.prepare.training.checkpoint import Progress, Score, load, save
from semla_ros.prepare.training.hardware import (
    Hardware,
    accelerator_of,
    is_out_of_memory,
    peak_memory_bytes,
)
from semla_ros.prepare.training.objective import Objective, Prompts, held_out_miou
from semla_ros.prepare.training.recipe import Recipe
from semla_ros.prepare.training.samples import Batch, LabelledImages, View, draw_batch
from semla_ros.prepare.training.schedule import Group, optimiser_of, set_step

SCORED_IMAGES = 100
"""Held-out images of one evaluation, evenly spaced; the report takes all of them."""

OnScore = Callable[[Score], None]


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


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Where and how a run goes.

    Attributes:
        hardware: Asked for.
        checkpoint: File of the last checkpoint; taken up if it is there. None: none is kept.
        on_score: Called after each evaluation.
        title: Beside the progress bar; "" for none.
    """

    hardware: Hardware = field(default_factory=Hardware)
    checkpoint: Path | None = None
    on_score: OnScore = lambda _: None
    title: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """A few steps without learning.

    Attributes:
        seconds: Of one step.
        memory_bytes: The most that was in use.
    """

    seconds: float
    memory_bytes: int


def train(problem: Problem, recipe: Recipe, options: RunOptions | None = None) -> Progress:
    """Train in place, leave the best state in the network, and return what happened.

    Raises:
        TrainingError: Nothing to train on, a loss that is not finite, memory or disk too small.
    """
    _require_images(problem)
    run = _Run(problem, recipe, options or RunOptions())
    try:
        return run.to_the_end()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        why = str(error).splitlines()[0]
    raise TrainingError(run.memory_advice(why))


def measure(problem: Problem, recipe: Recipe, options: RunOptions, *, steps: int = 3) -> Measured:
    """Return what a step takes; nothing is learnt.

    Raises:
        TrainingError: It does not fit into memory; the message says what would.
    """
    _require_images(problem)
    run = _Run(problem, recipe, replace(options, checkpoint=None))
    try:
        run.gradients(0)
        started = time.monotonic()
        for step in range(steps):
            run.gradients(step)
        seconds = (time.monotonic() - started) / steps
        return Measured(seconds, peak_memory_bytes(run.accelerator.device))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        why = str(error).splitlines()[0]
    finally:
        run.forget_gradients()
    raise TrainingError(run.memory_advice(why))


class _Run:
    """One run: what accelerate made of the problem, and how far it is."""

    def __init__(self, problem: Problem, recipe: Recipe, options: RunOptions) -> None:
        hardware = options.hardware.resolved()
        self.problem, self.recipe, self.options = problem, recipe, options
        self.accelerator: Accelerator = accelerator_of(hardware, accumulate=recipe.accumulate)
        self.device = self.accelerator.device
        self.view = View.of(recipe, size=problem.objective.model.config.resolution)
        self.share = _share(recipe, self.accelerator.num_processes)
        self.optimiser = optimiser_of(problem.groups, recipe)
        prepared = self.accelerator.prepare(problem.objective, self.optimiser)
        self.network, self.stepper = prepared
        self.tokens = problem.tokens.to(self.device)
        self.every = [p for group in problem.groups for p in group.parameters]

    def to_the_end(self) -> Progress:
        progress = self._taken_up()
        self.network.train()
        with tqdm(
            total=self.recipe.steps,
            initial=progress.step,
            desc=self.options.title,
            disable=None if self.options.title and self.accelerator.is_main_process else True,
            leave=False,
            unit="step",
        ) as bar:
            while progress.step < self.recipe.steps and not self._stale(progress):
                progress = self._stretch(progress, bar)
        self._keep_best(progress)
        self.accelerator.wait_for_everyone()
        self.problem.objective.eval()
        return progress

    def _stretch(self, progress: Progress, bar: tqdm[Any]) -> Progress:
        """Return the progress after the next evaluation, which is checkpointed."""
        end = min(progress.step + self.recipe.evaluate_every, self.recipe.steps)
        losses = []
        for step in range(progress.step, end):
            losses.append(self.step(step))
            bar.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
            bar.update()
        progress = progress.scored(
            Score(end, float(np.mean(losses)), self._miou()), self.problem.parameters
        )
        self._save(progress)
        if self.accelerator.is_main_process:
            self.options.on_score(progress.scores[-1])
        return progress

    def step(self, step: int) -> float:
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
        return (
            f"out of memory ({why}) at batch {asked}, where {parts}: {fits} at a time would fit: "
            f"--set accumulate={asked // fits} (or batch={fits})"
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

    def _miou(self) -> float:
        """Return the held-out mIoU, the main process's where there are several; NaN: none."""
        if not len(self.problem.held_out):
            return float("nan")
        with self.accelerator.autocast():
            found = held_out_miou(
                self.problem.objective,
                self.problem.held_out,
                self.tokens,
                at_most=SCORED_IMAGES,
            )
        return float(broadcast(torch.tensor(found, device=self.device)))

    def _stale(self, progress: Progress) -> bool:
        """Return whether the last evaluations brought nothing."""
        patience, scores = self.recipe.patience, progress.scores
        if not patience or not len(self.problem.held_out) or len(scores) <= patience:
            return False
        return scores.index(progress.best_score) < len(scores) - patience

    def _keep_best(self, progress: Progress) -> None:
        if len(self.problem.held_out):
            for name, tensor in progress.best.items():
                self.problem.parameters[name].data.copy_(tensor)

    def _taken_up(self) -> Progress:
        path = self.options.checkpoint
        if path is None or not path.is_file():
            return Progress()
        progress = load(path, self.problem.parameters, self.optimiser)
        if progress.scaler and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(dict(progress.scaler))
        return progress

    def _save(self, progress: Progress) -> None:
        path = self.options.checkpoint
        if path is None or not self.accelerator.is_main_process:
            return
        scaler = self.accelerator.scaler
        if scaler is not None:
            progress = replace(progress, scaler=scaler.state_dict())
        save(path, progress, self.problem.parameters, self.optimiser)


def discard(checkpoint: Path) -> None:
    """Remove a checkpoint that has served."""
    with suppress(OSError):
        checkpoint.unlink()


def _share(recipe: Recipe, processes: int) -> int:
    """Return how many images a process takes at a time."""
    parts = recipe.accumulate * processes
    if recipe.batch % parts:
        raise TrainingError(
            f"expected a batch that {recipe.accumulate} parts on {processes} processes divide, "
            f"got {recipe.batch}: set batch or accumulate"
        )
    return recipe.batch // parts


def _require_images(problem: Problem) -> None:
    if not len(problem.train):
        raise TrainingError("expected at least one labelled image to train on, got none")
