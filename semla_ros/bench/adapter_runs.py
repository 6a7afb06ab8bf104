"""One library of one row and seed: trained by `semla train`, judged by `semla evaluate`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from semla_ros.bench.adapter_rows import Row
from semla_ros.bench.adapter_world import TEST, TRAIN, World
from semla_ros.bench.full_mixes import mixed_scores
from semla_ros.bundle import ModelBundle, open_bundle, write_manifest
from semla_ros.core.errors import TrainingError
from semla_ros.data.metrics import mean_iou
from semla_ros.data.tasks import Task
from semla_ros.demo.world import SYNONYMS
from semla_ros.evaluation.files import write_file
from semla_ros.evaluation.study.run import StudyRequest, run_study
from semla_ros.evaluation.study.scores import domain_counts, means_over
from semla_ros.evaluation.study.session import StudySettings
from semla_ros.evaluation.study.study import ORACLE, SEMLA, UNIFORM, ZERO_SHOT
from semla_ros.prepare.training.adapter import AdapterRequest, chosen_layers
from semla_ros.prepare.training.base import BaseRequest, train_base
from semla_ros.prepare.training.domains import train_library
from semla_ros.prepare.training.ground import DataRequest
from semla_ros.prepare.training.hardware import Hardware
from semla_ros.prepare.training.networks import trained_network
from semla_ros.prepare.training.recipe import Recipe
from semla_ros.prepare.training.run import How
from semla_ros.prepare.training.workplace import digest

SCORES = "scores.json"
OTHER_NAMES = " with other names"
_JUDGED_WITH = {"engine": "onnx", "precision": "f32", "null_distance": -1.0}
"""Exact masks, and adapters alone: a share of the base would hide what they are worth."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Bench:
    """What all runs share.

    Attributes:
        base: With its attention open and an empty library.
        world: The frames.
        common: Recipe of adapters; of full training.
        full: Recipe of full training.
        folder: Of the runs.
        jobs: Domains side by side.
        say: Told what happens.
    """

    base: ModelBundle
    world: World
    common: Recipe
    full: Recipe
    folder: Path
    jobs: int
    say: Say


def scores_of(bench: Bench, row: Row, seed: int) -> dict[str, float]:
    """Return the h-means over domains, percent, of one library; a run that is done is read.

    Keys are `oracle`, `zero-shot`, `uniform` and `semla` (both without the own domain), each
    also with `OTHER_NAMES`; of full training `oracle`, `uniform` and `semla`.

    Raises:
        SemlaError: A domain cannot be trained or judged.
    """
    recipe = row.recipe(bench.full if row.full else bench.common, seed=seed)
    world = bench.world
    base = bench.base.manifest.base_model
    key = [base, repr(recipe), row.full, world.domains, world.train, world.test]
    place = bench.folder / digest(key)
    path = place / SCORES
    if not path.is_file():
        bench.say(f"{row.name}, seed {seed}")
        found = _full(bench, place, recipe) if row.full else _library(bench, place, recipe)
        write_file(path, json.dumps(found, indent=1) + "\n")
        for folder in place.iterdir():
            if folder.is_dir():
                shutil.rmtree(folder)
    scores: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
    return scores


def trainable(bench: Bench, row: Row) -> int:
    """Return how many parameters a row trains."""
    if row.full:
        return sum(p.numel() for p in trained_network(bench.base).parameters())
    recipe = row.recipe(bench.common, seed=0)
    shapes = {layer.name: layer.shape for layer in bench.base.manifest.layers}
    layers = chosen_layers(bench.base, recipe)
    return recipe.ranks.total * sum(sum(shapes[name]) for name in layers)


def _library(bench: Bench, place: Path, recipe: Recipe) -> dict[str, float]:
    bundle = place / "bundle"
    if not bundle.is_dir():
        shutil.copytree(bench.base.root, place / "copy", dirs_exist_ok=True)
        (place / "copy").rename(bundle)
    how = How("experiment", recipe, Hardware("cpu"))
    requests = [
        AdapterRequest(bundle, domain, DataRequest(bench.world.tasks(TRAIN, [domain])), how)
        for domain in bench.world.domains
        if not (bundle / "library" / domain).is_dir()
    ]
    outcome = train_library(requests, jobs=bench.jobs, ray="", say=bench.say)
    if outcome.failed:
        raise TrainingError("; ".join(f"{name}: {why}" for name, why in outcome.failed.items()))
    renamed = _renamed(bundle, place / "renamed")
    strategies = (ZERO_SHOT, UNIFORM, SEMLA, ORACLE)
    tasks = bench.world.tasks(TEST)
    scores = _judged(bundle, place / "study", tasks, strategies)
    others = _judged(renamed, place / "study-renamed", tasks, strategies)
    return scores | {f"{name}{OTHER_NAMES}": value for name, value in others.items()}


def _full(bench: Bench, place: Path, recipe: Recipe) -> dict[str, float]:
    """Return the scores of bases trained as a whole, one for each domain, and of their mixes."""
    values: dict[str, float] = {}
    for domain in bench.world.domains:
        out = place / domain
        if not out.is_dir():
            data = DataRequest(bench.world.tasks(TRAIN, [domain]))
            train_base(
                BaseRequest(bench.base.root, out, data, How("experiment", recipe)), bench.say
            )
        tasks = bench.world.tasks(TEST, [domain])
        values[domain] = _judged(out, place / f"study-{domain}", tasks, (ZERO_SHOT,))[ZERO_SHOT]
    members = {domain: open_bundle(place / domain) for domain in bench.world.domains}
    mixed = mixed_scores(bench.base, members, bench.world)
    return {ORACLE: means_over(values, ())["h_mean"], **mixed}


def _judged(
    bundle: Path, out: Path, tasks: Sequence[Task], strategies: tuple[str, ...]
) -> dict[str, float]:
    """Return strategy -> h-mean of mIoU over domains, percent."""
    settings = StudySettings(
        bundle, strategies=strategies, leave_out="domain", changes=_JUDGED_WITH
    )
    study = run_study(StudyRequest(tuple(tasks), out, settings)).study
    found = {}
    for strategy in strategies:
        counts = domain_counts(study, strategy)
        miou = {domain: 100 * float(mean_iou(c)) for domain, c in counts.items()}
        found[strategy] = means_over(miou, ())["h_mean"]
    return found


def _renamed(bundle: Path, out: Path) -> Path:
    """Return a copy of the bundle whose classes have names that no adapter was trained with."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(bundle, out)
    manifest = open_bundle(out, verify=False).manifest
    vocabulary = manifest.vocabulary
    names = tuple(SYNONYMS.get(name, (name,))[-1] for name in vocabulary.names)
    write_manifest(out, replace(manifest, vocabulary=replace(vocabulary, names=names)))
    return out
