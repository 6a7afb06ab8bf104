"""One seeded command from nothing to `models/demo`: render, train, export, calibrate, measure."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from semla_ros.bundle import AdaptationDefaults, ModelBundle, TextSpec, reseal
from semla_ros.core.errors import BundleError
from semla_ros.core.viz.palette import vocabulary_of
from semla_ros.demo.model.adapters import train_library, write_centroids
from semla_ros.demo.model.calibrate import calibrate
from semla_ros.demo.model.card import write_card
from semla_ros.demo.model.experiment import SeedScores, score
from semla_ros.demo.model.networks import (
    base_config,
    demo_prompts,
    train_base,
    train_navigator,
    train_tokenizer,
    trained_spec,
)
from semla_ros.demo.model.promise import make_promise, store_promise
from semla_ros.demo.model.recipe import BASE_DOMAIN, SUITED, TEMPLATE, Recipe
from semla_ros.demo.model.scenes import DomainScenes, render_domain, render_domains
from semla_ros.demo.world import CLASSES
from semla_ros.library.retrieval import RetrievalSettings
from semla_ros.navigator.encoder import OnnxImageEncoder
from semla_ros.network.catseg import CatSeg
from semla_ros.network.checkpoint import create_catseg
from semla_ros.prepare.bundler.clip import create_clip
from semla_ros.prepare.bundler.writer import (
    BundleParts,
    NavigatorParts,
    NavigatorText,
    write_bundle,
)
from semla_ros.prepare.training.recipe import BUNDLE_RECIPES
from semla_ros.prepare.training.runner import Runner

logger = logging.getLogger(__name__)

CAPTIONS_PER_IMAGE = 4
UNCALIBRATED = AdaptationDefaults(0.05, 5, "euclidean", "inverse", -1.0, 0.0, 1e6)


def make_demo_model(out: Path, *, work: Path, recipe: Recipe | None = None) -> ModelBundle:
    """Return the demo bundle, made from seeds alone.

    Args:
        out: Bundle folder; replaced when the new one is whole.
        work: Scratch folder; finished stages found there are not repeated.
        recipe: Sizes, seeds and steps.
    """
    settings = recipe or Recipe()
    torch.manual_seed(0)
    work.mkdir(parents=True, exist_ok=True)
    with _stage(work, "scenes"):
        train = render_domains(
            first_seed=settings.seeds.train,
            count=settings.domain_scenes,
            captions=CAPTIONS_PER_IMAGE,
            title="train",
        )
    tokenizer = _tokenizer(work, train, settings)
    clip = _clip(work, train, tokenizer, settings)
    model = _base(work, clip, tokenizer, settings)
    library = work / "library"
    if not library.is_dir():
        with _stage(work, "adapters"):
            train_library(model, train, tokenizer, settings, out=work / "library.part")
        (work / "library.part").rename(library)
    with _stage(work, "bundle"):
        bundle = _bundle(work / "bundle", model, clip, tokenizer, library, settings)
    with _stage(work, "calibration"):
        bundle = _calibrated(bundle, train, settings)
    with _stage(work, "test"):
        scores = _test(bundle, settings)
    with _stage(work, "promise"):
        promise = make_promise(bundle, threads=_threads())
    write_card(bundle, scores, settings, minutes=_minutes(work), threads=_threads())
    bundle = store_promise(bundle, promise)
    if out.exists():
        shutil.rmtree(out)
    shutil.copytree(bundle.root, out)
    return ModelBundle(out, bundle.manifest)


@contextmanager
def _stage(work: Path, name: str) -> Iterator[None]:
    """Note how long a stage took, so that a resumed run still knows the whole time."""
    started = time.monotonic()
    yield
    path = work / "seconds.json"
    seconds = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    seconds[name] = round(time.monotonic() - started, 1)
    path.write_text(json.dumps(seconds, indent=1), encoding="utf-8")
    logger.info("%s: %.0f s", name, seconds[name])


def _minutes(work: Path) -> float:
    seconds = json.loads((work / "seconds.json").read_text(encoding="utf-8"))
    return float(sum(seconds.values())) / 60


def _threads() -> int:
    return torch.get_num_threads()


def _tokenizer(work: Path, train: tuple[DomainScenes, ...], recipe: Recipe) -> Tokenizer:
    path = work / "tokenizer.json"
    if not path.is_file():
        train_tokenizer(train, vocab_size=recipe.clip_size.vocab_size).save(str(path))
    return Tokenizer.from_file(str(path))


def _clip(
    work: Path, train: tuple[DomainScenes, ...], tokenizer: Tokenizer, recipe: Recipe
) -> Any:  # noqa: ANN401  an open_clip model
    path = work / "clip.safetensors"
    if not path.is_file():
        with _stage(work, "clip"):
            trained = train_navigator(train, tokenizer, recipe)
        save_file({k: v.contiguous() for k, v in trained.state_dict().items()}, str(path))
    clip = create_clip(recipe.clip_size, seed=recipe.clip.seed)
    clip.load_state_dict(load_file(str(path)))
    return clip.eval()


def _base(work: Path, clip: Any, tokenizer: Tokenizer, recipe: Recipe) -> CatSeg:  # noqa: ANN401
    path = work / "base.safetensors"
    if not path.is_file():
        with _stage(work, "base"):
            scenes = render_domain(
                BASE_DOMAIN,
                first_seed=recipe.seeds.train + 1_000_000,
                count=recipe.base_scenes,
                title="base",
            )
            trained = train_base(clip, scenes.images, tokenizer, recipe)
        save_file({k: v.contiguous() for k, v in trained.state_dict().items()}, str(path))
    model = create_catseg(base_config(clip, recipe), seed=recipe.base.seed)
    model.load_state_dict(load_file(str(path)))
    return model.eval()


class _Navigator(torch.nn.Module):
    """CLIP's image tower, embedding not normalised, as SemLA uses it."""

    def __init__(self, clip: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.clip = clip

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        embedding: torch.Tensor = self.clip.encode_image(image, normalize=False)
        return embedding


class _NavigatorText(torch.nn.Module):
    """CLIP's text tower."""

    def __init__(self, clip: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.clip = clip

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        embedding: torch.Tensor = self.clip.encode_text(tokens)
        return embedding


def _bundle(
    out: Path,
    model: CatSeg,
    clip: Any,  # noqa: ANN401
    tokenizer: Tokenizer,
    library: Path,
    recipe: Recipe,
) -> ModelBundle:
    if out.exists():
        shutil.rmtree(out)
    length, tokenizer_json = recipe.clip_size.context_length, tokenizer.to_str(pretty=True)
    parts = BundleParts(
        name="demo",
        model=model,
        tokenizer_json=tokenizer_json,
        text=TextSpec(template=TEMPLATE, context_length=length),
        navigator=NavigatorParts(
            _Navigator(clip),
            trained_spec(clip, recipe),
            demo_prompts(clip, tokenizer, recipe),
            NavigatorText(_NavigatorText(clip), length, tokenizer_json),
        ),
        vocabulary=vocabulary_of(CLASSES),
        defaults=UNCALIBRATED,
    )
    bundle = write_bundle(out, parts, library=library)
    (bundle.root / BUNDLE_RECIPES).write_text(SUITED, encoding="utf-8")
    return bundle


def _calibrated(
    bundle: ModelBundle, train: tuple[DomainScenes, ...], recipe: Recipe
) -> ModelBundle:
    encoder = OnnxImageEncoder(bundle, threads=_threads())
    write_centroids(encoder, train, out=bundle.library)
    scenes = render_domains(
        first_seed=recipe.seeds.validation, count=recipe.validation_scenes, title="validation"
    )
    return reseal(bundle, defaults=calibrate(_runner(bundle), scenes))


def _runner(bundle: ModelBundle) -> Runner:
    runner = Runner.open(bundle)
    if problems := runner.library.problems:
        raise BundleError(f"expected a sound library, got problems {dict(problems)!r}")
    return runner


def _test(bundle: ModelBundle, recipe: Recipe) -> tuple[SeedScores, ...]:
    defaults = bundle.manifest.defaults
    settings = RetrievalSettings(
        temperature=defaults.temperature,
        top_k=defaults.top_k,
        similarity=defaults.similarity,
        null_distance=defaults.null_distance,
        exclude=frozenset(),
    )
    runner = _runner(bundle)
    results = []
    for number in range(recipe.test_seeds):
        scenes = render_domains(
            first_seed=recipe.seeds.test + 1_000_000 * number,
            count=recipe.test_scenes,
            title=f"test {number}",
        )
        results.append(score(runner, scenes, settings, title=f"test set {number}"))
    path = bundle.root / "results.json"
    path.write_text(json.dumps([asdict(r) for r in results], indent=1), encoding="utf-8")
    return tuple(results)
