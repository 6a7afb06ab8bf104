"""A small SegFormer for the demo world, from seeded random weights: does the idea carry over?

Navigator and centroids are those of the demo bundle: domains look the same to whoever segments.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import torch

from semla_ros.bundle import ModelBundle, open_bundle
from semla_ros.demo.model.adapters import Base, train_library
from semla_ros.demo.model.card import results_table
from semla_ros.demo.model.recipe import ADAPTER_RECIPE, BASE_DOMAIN, BASE_RECIPE, SUITED, Recipe
from semla_ros.demo.model.scenes import DomainScenes, render_domain, render_domains
from semla_ros.demo.model.stages import UNCALIBRATED, calibrated, minutes, stage, tested
from semla_ros.demo.world import CLASSES, DOMAINS
from semla_ros.library.statistics import statistics_path
from semla_ros.prepare.adapters.seals import reseal_file
from semla_ros.prepare.bundler.transformers.checkpoint import import_transformers, quietly
from semla_ros.prepare.bundler.transformers.importer import HubRequest, import_hub_bundle
from semla_ros.prepare.training.hardware import CPU, Hardware
from semla_ros.prepare.training.networks import trained_network
from semla_ros.prepare.training.objective import Objective
from semla_ros.prepare.training.recipe import BUNDLE_RECIPES
from semla_ros.prepare.training.schedule import full_groups
from semla_ros.prepare.training.steps import Problem
from semla_ros.prepare.training.trainer import RunOptions, train

logger = logging.getLogger(__name__)

SIZES = {
    "depths": [2, 2, 2, 2],
    "hidden_sizes": [16, 32, 64, 128],
    "num_attention_heads": [1, 1, 2, 4],
    "decoder_hidden_size": 64,
}
"""A B0 has 32, 64, 160, 256 and 256: six times as many weights."""
SIZE = (128, 192)
"""Of its image: about what the demo's CAT-Seg, 128 x 128, is shown."""
RECIPE = replace(
    Recipe(),
    base_scenes=500,
    domain_scenes=96,
    base=replace(BASE_RECIPE, steps=800),
    adapter=replace(ADAPTER_RECIPE, steps=100, warmup=10),
    validation_scenes=12,
    test_scenes=20,
    test_seeds=2,
)
"""Fewer scenes and steps than the demo's: minutes on one core."""


def make_segformer(
    out: Path, *, demo: Path, work: Path, recipe: Recipe | None = None
) -> ModelBundle:
    """Return the bundle, made from seeds and the demo's navigator.

    Args:
        out: Bundle folder; replaced when the new one is whole.
        demo: The demo bundle.
        work: Scratch folder; finished stages found there are not repeated.
        recipe: Seeds and steps.
    """
    settings = recipe or RECIPE
    work.mkdir(parents=True, exist_ok=True)
    known = open_bundle(demo)
    base = work / "base"
    if not base.is_dir():
        with stage(work, "base"):
            _train_base(_fresh(work, known), settings, out=base)
    library = work / "library"
    if not library.is_dir():
        with stage(work, "adapters"):
            _train_library(open_bundle(base), known, settings, out=work / "library.part")
        (work / "library.part").rename(library)
    whole = work / "bundle"
    shutil.rmtree(whole, ignore_errors=True)
    shutil.copytree(base, whole)
    shutil.copytree(library, whole / "library", dirs_exist_ok=True)
    (whole / BUNDLE_RECIPES).write_text(SUITED, encoding="utf-8")
    with stage(work, "calibration"):
        bundle = calibrated(open_bundle(whole), settings)
    with stage(work, "test"):
        scores = tested(bundle, settings)
    (whole / "MODEL_CARD.md").write_text(
        f"# Model card: a small SegFormer for the demo world\n\nMade by `scripts/make_demo_model "
        f"--family segformer` in {minutes(work):.0f} minutes on {torch.get_num_threads()} CPU "
        f"threads; trained on {BASE_DOMAIN}, an adapter a domain.\n\n{results_table(scores)}\n",
        encoding="utf-8",
    )
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(whole, out)
    return ModelBundle(out, bundle.manifest)


def _fresh(work: Path, demo: ModelBundle) -> ModelBundle:
    """Return the bundle of a network that has learnt nothing."""
    library = import_transformers()
    torch.manual_seed(0)
    names = dict(enumerate(CLASSES))
    config = library.SegformerConfig(
        **SIZES, id2label=names, label2id={name: i for i, name in names.items()}
    )
    height, width = SIZE
    folder, out = work / "checkpoint", work / "fresh"
    for each in (folder, out):
        shutil.rmtree(each, ignore_errors=True)
    with quietly():
        library.SegformerForSemanticSegmentation(config).save_pretrained(folder)
        size = {"height": height, "width": width}
        library.SegformerImageProcessor(size=size).save_pretrained(folder)
    request = HubRequest(str(folder), out, UNCALIBRATED, navigator=demo)
    return import_hub_bundle(request)[0]


def _train_base(fresh: ModelBundle, recipe: Recipe, *, out: Path) -> None:
    scenes = render_domain(
        BASE_DOMAIN,
        first_seed=recipe.seeds.train + 1_000_000,
        count=recipe.base_scenes,
        title="base",
    )
    network = trained_network(fresh)
    problem = Problem(
        objective=Objective(network, balance=recipe.base.balance),
        parameters=dict(network.model.named_parameters()),
        groups=full_groups(network.model.parameters(), recipe.base.weight_decay),
        train=scenes.images,
        held_out=(),
        prompts=lambda _: network.tokens,
        tokens=network.tokens,
    )
    done = train(problem, recipe.base, RunOptions(Hardware(CPU), title="base network"))
    logger.info("base: mean loss %.3f", done.scores[-1].loss)
    network.write(out, name="demo-segformer")


def _train_library(bundle: ModelBundle, demo: ModelBundle, recipe: Recipe, *, out: Path) -> None:
    """Write an adapter for each domain below `out`, with the demo's statistics of it."""
    network = trained_network(bundle)
    layers = tuple(layer.name for layer in bundle.manifest.layers)
    base = Base(network, layers, bundle.manifest.base_model)
    scenes: tuple[DomainScenes, ...] = render_domains(
        first_seed=recipe.seeds.train, count=recipe.domain_scenes, title="train"
    )
    train_library(base, scenes, lambda _: network.tokens, recipe, out=out)
    for domain in DOMAINS:
        known = statistics_path(demo.library / domain, domain)
        shutil.copyfile(known, out / domain / known.name)
        reseal_file(out / domain / known.name)
