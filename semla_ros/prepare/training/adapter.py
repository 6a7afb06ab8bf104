"""`semla train adapter`: from labelled frames of one domain to an entry of the library."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from semla_ros import __version__
from semla_ros.bundle import ModelBundle, open_bundle
from semla_ros.core.errors import TrainingError
from semla_ros.core.types import LoraAdapter
from semla_ros.library.statistics import DomainStatistics
from semla_ros.prepare.training.checkpoint import Progress, Score
from semla_ros.prepare.training.compress import compressed
from semla_ros.prepare.training.entry import (
    card_text,
    require_free_name,
    statistics_of,
    with_dead_qkv,
    write_entry,
)
from semla_ros.prepare.training.ground import DataRequest, Ground, split_facts, stand
from semla_ros.prepare.training.hardware import CUDA, Hardware, threads
from semla_ros.prepare.training.judge import Judgement, class_table, judge, verdict
from semla_ros.prepare.training.low_rank import Attached, adapter_of, attached
from semla_ros.prepare.training.objective import Objective
from semla_ros.prepare.training.plan import Plan, minutes
from semla_ros.prepare.training.recipe import DEAD_QKV, Recipe, recipe_to_dict
from semla_ros.prepare.training.runner import Runner
from semla_ros.prepare.training.starts import Starts
from semla_ros.prepare.training.trainer import Problem, RunOptions, measure, train

Say = Callable[[str], None]
_COMPONENTS = ("torch", "accelerate", "torchvision", "scipy", "numpy", "safetensors")


@dataclass(frozen=True, slots=True)
class AdapterRequest:
    """What is asked for.

    Attributes:
        bundle: Folder of the base.
        name: Of the adapter: the domain.
        data: Labelled recordings.
        recipe_name, recipe: How.
        hardware: Where.
        replace: Put it in the place of an adapter of that name.
        fresh: Do not go on with an interrupted run.
        licence: Goes onto the card as given.
        compress: Rank to shrink the adapter to; 0: as it was trained.
        threads: CPU threads; 0: as many as PyTorch takes.
    """

    bundle: Path
    name: str
    data: DataRequest
    recipe_name: str = "semla"
    recipe: Recipe = field(default_factory=Recipe)
    hardware: Hardware = field(default_factory=Hardware)
    replace: bool = False
    fresh: bool = False
    licence: str = ""
    compress: int = 0
    threads: int = 0


@dataclass(frozen=True, slots=True)
class TrainedAdapter:
    """What came of it.

    Attributes:
        folder: The entry.
        adapter: As it was written.
        progress: Evaluations on the way.
        judgement: Of the held-out frames.
    """

    folder: Path
    adapter: LoraAdapter
    progress: Progress
    judgement: Judgement


def train_adapter(
    request: AdapterRequest, say: Say, *, dry_run: bool = False
) -> TrainedAdapter | None:
    """Return the adapter that is now in the library; None after a dry run.

    Args:
        request: What.
        say: Told the plan, each evaluation and the verdict, line by line.
        dry_run: Stop after the plan.

    Raises:
        SemlaError: It cannot be trained; the library is as it was.
    """
    bundle = open_bundle(request.bundle, verify=False)
    require_free_name(bundle, request.name, replaces=request.replace)
    with threads(request.threads):
        ground = stand(
            bundle,
            request.data,
            request.recipe,
            hardware=request.hardware,
            work=bundle.library / f".{request.name}.training",
            threads=request.threads,
            embeds=True,
            title=request.name,
        )
        starts = Starts(
            request.recipe, folder=bundle.library, base_model=bundle.manifest.base_model
        )
        layers = chosen_layers(bundle, request.recipe)
        with attached(ground.model, layers, starts) as changes:
            problem = _problem(ground, changes, request.recipe)
            resumed = ground.workplace.claim(_facts(request, ground, layers), fresh=request.fresh)
            _announce(request, ground, problem, changes, resumed=resumed, say=say)
            if dry_run:
                return None
            starts.keep()
            progress = train(problem, request.recipe, _options(request, ground, say))
            adapter = adapter_of(changes, name=request.name, base_model=bundle.manifest.base_model)
    return _finished(request, ground, adapter, progress, say)


def chosen_layers(bundle: ModelBundle, recipe: Recipe) -> tuple[str, ...]:
    """Return the bundle's layers that the recipe's patterns name.

    Raises:
        TrainingError: None; or a pattern that names none.
    """
    names = [layer.name for layer in bundle.manifest.layers]
    for pattern in recipe.layers:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise TrainingError(
                f"recipe: expected layers that {bundle.manifest.name!r} can merge into, got the "
                f"pattern {pattern!r}, which names none of {len(names)}, e.g. {names[:1]!r}"
            )
    return tuple(n for n in names if any(fnmatchcase(n, pattern) for pattern in recipe.layers))


def versions() -> dict[str, str]:
    """Return component -> version of everything that can change an adapter."""
    found = {"semla_ros": __version__, "python": platform.python_version()}
    for name in _COMPONENTS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _problem(ground: Ground, changes: Attached, recipe: Recipe) -> Problem:
    objective = Objective(
        ground.model,
        balance=recipe.balance,
        habits=ground.habits(recipe),
        changes=changes.changes.values(),
    )
    return Problem(
        objective,
        changes.parameters(),
        changes.groups(recipe),
        ground.data.some(ground.split.train),
        ground.data.some(ground.split.held_out),
        lambda _: ground.tokens,
        ground.tokens,
    )


def _facts(request: AdapterRequest, ground: Ground, layers: tuple[str, ...]) -> dict[str, Any]:
    return {
        "base": ground.bundle.manifest.base_model,
        "data": ground.data_key,
        "recipe": recipe_to_dict(request.recipe),
        "layers": list(layers),
        "precision": ground.hardware.precision,
    }


def _announce(
    request: AdapterRequest,
    ground: Ground,
    problem: Problem,
    changes: Attached,
    *,
    resumed: bool,
    say: Say,
) -> None:
    recipe = replace(request.recipe, official=ground.habits(request.recipe))
    plan = Plan(
        request.name,
        request.recipe_name,
        recipe,
        ground.hardware,
        ground.data,
        ground.split,
        ground.bundle.manifest.vocabulary.names,
        len(changes.changes),
        sum(p.numel() for p in problem.parameters.values()),
        sum(p.numel() for p in ground.model.parameters()),
        measure(problem, recipe, RunOptions(ground.hardware)),
    )
    for line in plan.lines():
        say(line)
    if resumed:
        say("goes on with the checkpoint of an interrupted run")


def _options(request: AdapterRequest, ground: Ground, say: Say) -> RunOptions:
    def told(score: Score) -> None:
        say(
            f"step {score.step}/{request.recipe.steps}: loss {score.loss:.4f}, held-out mIoU "
            f"{100 * score.miou:.1f} %"
        )

    return RunOptions(ground.hardware, ground.workplace.checkpoint, told, request.name)


def _finished(
    request: AdapterRequest,
    ground: Ground,
    adapter: LoraAdapter,
    progress: Progress,
    say: Say,
) -> TrainedAdapter:
    facts: dict[str, Any] = {}
    if request.compress:
        small = compressed(adapter, request.compress)
        say(
            f"compressed to rank {request.compress}: {100 * small.error:.2f} % of the change is "
            f"lost, {100 * small.worst:.2f} % of {small.worst_layer}"
        )
        adapter, facts["compression"] = (
            small.adapter,
            {
                "rank": request.compress,
                "error": small.error,
                "worst": small.worst,
            },
        )
    with _runner(ground, request.threads) as runner:
        judgement = judge(
            runner,
            request.data.every,
            request.data.reading,
            held_out=ground.held_out_places(),
            adapter=adapter,
        )
    words = verdict(judgement, request.name)
    if DEAD_QKV in request.recipe.official:
        adapter = with_dead_qkv(adapter, ground.model.config, seed=request.recipe.seed)
    facts = _card_facts(request, ground, progress, judgement) | facts
    card = card_text(
        request.name,
        licence=request.licence,
        summary=[". ".join(words) + ".", "", *class_table(judgement)],
        facts=facts,
    )
    folder = write_entry(ground.bundle, adapter, statistics=_statistics(ground), card=card)
    ground.workplace.remove()
    for line in (*words, f"wrote {folder}"):
        say(line)
    return TrainedAdapter(folder, adapter, progress, judgement)


def _statistics(ground: Ground) -> DomainStatistics | None:
    """Return what the navigator makes of the frames that were not held out."""
    if not ground.encoder:
        return None
    rows, recordings = ground.embeddings()
    return statistics_of(rows, recordings, encoder=ground.encoder)


def _card_facts(
    request: AdapterRequest, ground: Ground, progress: Progress, judgement: Judgement
) -> dict[str, Any]:
    return {
        "base": ground.bundle.manifest.base_model,
        "bundle": ground.bundle.manifest.name,
        "recipe": {"name": request.recipe_name, **recipe_to_dict(request.recipe)},
        "habits": list(ground.habits(request.recipe)),
        "hardware": {"device": ground.hardware.device, "precision": ground.hardware.precision},
        "versions": versions(),
        "data": {
            "sha256": ground.data.sha256,
            "frames": len(ground.data.frames),
            "label_map": request.data.reading.label_map.name,
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


@contextmanager
def _runner(ground: Ground, cpu_threads: int) -> Iterator[Runner]:
    runner = Runner.open(ground.bundle, threads=cpu_threads, gpu=ground.hardware.device == CUDA)
    try:
        yield runner
    finally:
        runner.close()


__all__ = ["AdapterRequest", "TrainedAdapter", "minutes", "train_adapter"]
