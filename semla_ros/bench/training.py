"""`semla bench training`: steps of training beside PEFT's of the same layers.

Network, images, loss, optimiser and loop are the same; what differs is who put the adapters on.
Steps take turns in one process; peak memory is that of a process of its own for each.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from semla_ros.bench.candidate_peft import torch_and_peft
from semla_ros.bench.record import BenchRecord, Row
from semla_ros.bench.turns import in_turns
from semla_ros.bundle import ModelBundle, open_bundle
from semla_ros.core.errors import ConfigError
from semla_ros.core.types import Float32Array
from semla_ros.demo.model.scenes import render_domain
from semla_ros.prepare.training.adapter import chosen_layers
from semla_ros.prepare.training.hardware import CPU, Hardware, peak_memory_bytes, threads
from semla_ros.prepare.training.initial import Start, start_of
from semla_ros.prepare.training.low_rank import attached
from semla_ros.prepare.training.networks import trained_network
from semla_ros.prepare.training.objective import Objective
from semla_ros.prepare.training.recipe import ADAPTER, Recipe, read_recipe
from semla_ros.prepare.training.samples import LabelledImages
from semla_ros.prepare.training.schedule import Group
from semla_ros.prepare.training.steps import Problem, Steps

OURS, PEFT = "semla train", "PEFT"
_DOMAIN, _SCENES = "fog-day", 12


def run_training(bundle: Path, *, steps: int, thread_count: int = 0, command: str) -> BenchRecord:
    """Return the record of `steps` interleaved steps of each, by the bundle's own recipe.

    Raises:
        ConfigError: Fewer than two steps.
        SemlaError: The bundle cannot be trained, or PEFT is missing.
    """
    if steps < 2:
        raise ConfigError(f"expected --steps of at least 2, got {steps!r}")
    torch_and_peft()
    with threads(thread_count), ours(bundle) as mine, peft(bundle) as theirs:
        counts = {OURS: _size(mine), PEFT: _size(theirs)}
        losses = {OURS: mine.gradients(0), PEFT: theirs.gradients(0)}
        mine.forget_gradients()
        theirs.forget_gradients()
        taken = in_turns({OURS: mine.take, PEFT: theirs.take}, range(steps + 1))
        used = torch.get_num_threads()
    rows: list[Row] = []
    for name, spent in taken.items():
        wall, busy = spent[:, 0], spent[:, 1]
        rows.append(
            {
                "training": name,
                "threads": used,
                "trainable": counts[name],
                "p50_ms": float(np.median(wall)),
                "least_ms": float(wall.min()),
                "processor_p50_ms": float(np.median(busy)),
                "steps_per_s": 1e3 / float(np.median(wall)),
                "peak_mib": _peak_mib(name, bundle, thread_count),
                "first_loss": losses[name],
            }
        )
    return BenchRecord(
        "Training steps",
        command,
        tuple(rows),
        notes=("Peak memory is the whole process's, three steps in a process of its own.",),
    )


@contextmanager
def ours(bundle: Path) -> Iterator[Steps]:
    """Yield the steps of `semla train adapter` on rendered scenes."""
    opened, recipe = _setup(bundle)
    network = trained_network(opened)
    rng = np.random.default_rng(recipe.seed)

    def start(_: str, weight: Float32Array) -> Start:
        return start_of(recipe.init, weight, recipe.ranks, alpha=recipe.alpha, rng=rng)

    with attached(network.model, chosen_layers(opened, recipe), start) as changes:
        objective = Objective(network, balance=recipe.balance, changes=changes.changes.values())
        problem = _problem(objective, changes.parameters(), changes.groups(recipe))
        yield _steps(problem, recipe)


@contextmanager
def peft(bundle: Path) -> Iterator[Steps]:
    """Yield the same steps with the adapters that PEFT puts on the same layers."""
    opened, recipe = _setup(bundle)
    _, library = torch_and_peft()
    network = trained_network(opened).requires_grad_(False)
    config = library.LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        target_modules=list(chosen_layers(opened, recipe)),
        lora_dropout=0.0,
        bias="none",
    )
    library.inject_adapter_in_model(config, network.model)
    parameters = {name: p for name, p in network.model.named_parameters() if p.requires_grad}
    groups = (Group(tuple(parameters.values()), 1.0, recipe.weight_decay),)
    objective = Objective(network, balance=recipe.balance)
    yield _steps(_problem(objective, parameters, groups), recipe)


def _setup(bundle: Path) -> tuple[ModelBundle, Recipe]:
    opened = open_bundle(bundle, verify=False)
    return opened, replace(read_recipe(None, opened, kind=ADAPTER)[1], patience=0)


def _problem(
    objective: Objective,
    parameters: dict[str, torch.nn.Parameter],
    groups: tuple[Group, ...],
) -> Problem:
    tokens = objective.network.tokens
    return Problem(objective, parameters, groups, _scenes(), (), lambda _: tokens, tokens)


def _scenes() -> LabelledImages:
    return render_domain(_DOMAIN, first_seed=0, count=_SCENES).images


def _steps(problem: Problem, recipe: Recipe) -> Steps:
    steps = Steps(problem, recipe, Hardware(CPU))
    steps.network.train()
    return steps


def _size(steps: Steps) -> int:
    return sum(p.numel() for p in steps.every)


def _peak_mib(name: str, bundle: Path, thread_count: int) -> float:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_peak, name, bundle, thread_count).result()


def _peak(name: str, bundle: Path, thread_count: int) -> float:
    with threads(thread_count), (ours if name == OURS else peft)(bundle) as steps:
        for step in range(3):
            steps.take(step)
        return peak_memory_bytes(steps.device) / 2**20
