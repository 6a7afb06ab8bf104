"""The training loop of adapters and bases: steps, evaluations, checkpoints, an early end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast
from tqdm import tqdm

from semla_ros.core.errors import TrainingError
from semla_ros.prepare.training.checkpoint import Progress, Score, load, save
from semla_ros.prepare.training.hardware import Hardware, is_out_of_memory, peak_memory_bytes
from semla_ros.prepare.training.objective import held_out_miou
from semla_ros.prepare.training.recipe import Recipe
from semla_ros.prepare.training.steps import Problem, Steps

SCORED_IMAGES = 100
"""Held-out images of one evaluation, evenly spaced; the report takes all of them."""

OnScore = Callable[[Score], None]


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
    options = options or RunOptions()
    steps = Steps(problem, recipe, options.hardware)
    with _advice(steps):
        return _Run(steps, options).to_the_end()


def measure(problem: Problem, recipe: Recipe, hardware: Hardware, *, steps: int = 3) -> Measured:
    """Return what a step takes; nothing is learnt.

    Raises:
        TrainingError: It does not fit into memory; the message says what would.
    """
    each = Steps(problem, recipe, hardware)
    with _advice(each):
        each.gradients(0)
        started = time.monotonic()
        for step in range(steps):
            each.gradients(step)
        seconds = (time.monotonic() - started) / steps
    each.forget_gradients()
    return Measured(seconds, peak_memory_bytes(each.device))


@contextmanager
def _advice(steps: Steps) -> Iterator[None]:
    """Say which batch would fit where one does not."""
    why = ""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        why = str(error).splitlines()[0]
    if why:  # outside, where nothing holds the memory any more
        raise TrainingError(steps.memory_advice(why))


class _Run:
    """One run: its steps, and how far it is."""

    def __init__(self, steps: Steps, options: RunOptions) -> None:
        self.steps, self.options = steps, options
        self.problem, self.recipe = steps.problem, steps.recipe
        self.accelerator, self.optimiser = steps.accelerator, steps.optimiser
        self.tokens = steps.problem.tokens.to(steps.device)

    def to_the_end(self) -> Progress:
        progress = self._taken_up()
        self.steps.network.train()
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
            losses.append(self.steps.take(step))
            bar.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
            bar.update()
        progress = progress.scored(
            Score(end, float(np.mean(losses)), self._miou()), self.problem.parameters
        )
        self._save(progress)
        if self.accelerator.is_main_process:
            self.options.on_score(progress.scores[-1])
        return progress

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
        return float(broadcast(torch.tensor(found, device=self.steps.device)))

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
