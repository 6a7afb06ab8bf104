"""What runs of adapters and bases share: how they go, what they say, what their card holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from semla_ros.bundle import ModelBundle
from semla_ros.core.installed import versions_of
from semla_ros.prepare.training.checkpoint import Progress, Score
from semla_ros.prepare.training.ground import DataRequest, Ground, habits_of, split_facts
from semla_ros.prepare.training.hardware import CUDA, Hardware
from semla_ros.prepare.training.judge import Judgement
from semla_ros.prepare.training.objective import Objective
from semla_ros.prepare.training.plan import Plan, minutes
from semla_ros.prepare.training.recipe import Recipe, recipe_to_dict
from semla_ros.prepare.training.runner import Runner
from semla_ros.prepare.training.schedule import Group
from semla_ros.prepare.training.steps import Problem
from semla_ros.prepare.training.trainer import RunOptions, measure
from semla_ros.prepare.training.workplace import Workplace

Say = Callable[[str], None]
"""Told the plan, each evaluation and the verdict, line by line."""

_COMPONENTS = ("torch", "accelerate", "torchvision", "scipy", "numpy", "safetensors")


@dataclass(frozen=True, slots=True)
class How:
    """How a run goes.

    Attributes:
        recipe_name, recipe: Its settings.
        hardware: Asked for.
        fresh: Do not go on with an interrupted run.
        threads: CPU threads; 0: see `given_threads`.
    """

    recipe_name: str = "semla"
    recipe: Recipe = field(default_factory=Recipe)
    hardware: Hardware = field(default_factory=Hardware)
    fresh: bool = False
    threads: int = 0


def problem_of(
    ground: Ground,
    recipe: Recipe,
    parameters: Mapping[str, nn.Parameter],
    groups: Collection[Group],
    *,
    changes: Collection[nn.Module] = (),
) -> Problem:
    """Return what is trained: `parameters` in `groups`, on the ground's training frames."""
    objective = Objective(
        ground.network, balance=recipe.balance, habits=recipe.official, changes=changes
    )
    return Problem(
        objective,
        parameters,
        tuple(groups),
        ground.data.some(ground.split.train),
        ground.data.some(ground.split.held_out),
        lambda _: ground.network.tokens,
        ground.network.tokens,
    )


def facts_of(ground: Ground, recipe: Recipe, **more: object) -> dict[str, Any]:
    """Return what decides the outcome, by topic: a checkpoint of other facts is refused."""
    return {
        "base": ground.bundle.manifest.base_model,
        "data": ground.data_key,
        "split": split_facts(ground),
        "recipe": recipe_to_dict(recipe),
        "precision": ground.hardware.precision,
        **more,
    }


def announce(
    name: str, how: How, ground: Ground, problem: Problem, *, what: str, resumed: bool, say: Say
) -> None:
    """Say what the run will be; a few steps are measured.

    Raises:
        TrainingError: A step does not fit into memory.
    """
    plan = Plan(
        name,
        how.recipe_name,
        replace(how.recipe, official=habits_of(ground.bundle, how.recipe)),
        ground.hardware,
        ground.data,
        ground.split,
        ground.bundle.manifest.vocabulary.names,
        what,
        sum(p.numel() for p in problem.parameters.values()),
        ground.weights,
        measure(problem, how.recipe, ground.hardware),
        torch.get_num_threads(),
    )
    for line in plan.lines():
        say(line)
    if resumed:
        say("goes on with the checkpoint of an interrupted run")


def options_of(name: str, how: How, ground: Ground, say: Say) -> RunOptions:
    """Return where the run keeps its checkpoint, and how it tells its evaluations."""
    begun: list[tuple[int, float]] = []

    def told(score: Score) -> None:
        now = (score.step, time.monotonic())
        pace = ""
        if begun and now[0] > begun[0][0]:
            seconds = (now[1] - begun[0][1]) / (now[0] - begun[0][0])
            left = minutes(seconds * (how.recipe.steps - score.step))
            pace = f"; {seconds:.2f} s a step, {left} left at most"
        begun.append(now)
        say(
            f"step {score.step}/{how.recipe.steps}: loss {score.loss:.4f}, held-out mIoU "
            f"{100 * score.miou:.1f} %{pace}"
        )

    return RunOptions(ground.hardware, ground.workplace.checkpoint, told, name)


def card_facts(
    data: DataRequest, how: How, ground: Ground, progress: Progress, judgement: Judgement
) -> dict[str, Any]:
    """Return all that a card says of a run, as plain values."""
    return {
        "base": ground.bundle.manifest.base_model,
        "bundle": ground.bundle.manifest.name,
        "recipe": {"name": how.recipe_name, **recipe_to_dict(how.recipe)},
        "habits": list(habits_of(ground.bundle, how.recipe)),
        "hardware": {"device": ground.hardware.device, "precision": ground.hardware.precision},
        "versions": versions(),
        "data": {
            "sha256": ground.data.sha256,
            "frames": len(ground.data.frames),
            "label_map": data.reading.label_map.name,
            "notes": list(ground.data.notes),
            "split": split_facts(ground),
        },
        "steps": progress.step,
        "best_step": progress.best_score.step,
        "evaluations": [
            {"step": s.step, "loss": round(s.loss, 5), "miou": round(100 * s.miou, 2)}
            for s in progress.scores
        ],
        "held_out": {"frames": judgement.frames, **judgement.as_dict()},
    }


def versions() -> dict[str, str]:
    """Return component -> version of everything that can change an adapter."""
    return versions_of(_COMPONENTS)


@contextmanager
def runner_of(bundle: ModelBundle, how: How, hardware: Hardware) -> Iterator[Runner]:
    """Yield the run-time parts of `bundle`, on a GPU where training was on one."""
    runner = Runner.open(bundle, threads=how.threads, gpu=hardware.device == CUDA)
    try:
        yield runner
    finally:
        runner.close()


def workplace_beside(path: Path, *, fresh: bool, dry: bool) -> Workplace:
    """Return the hidden folder of the run that will make `path`."""
    return Workplace(path.with_name(f".{path.name}.training"), fresh, dry)
