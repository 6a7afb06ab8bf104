"""What every demo model goes through, of whatever family: stages, calibration, test sets."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch

from semla_ros.bundle import AdaptationDefaults, ModelBundle, reseal
from semla_ros.core.config import Config
from semla_ros.core.errors import BundleError
from semla_ros.demo.model.calibrate import calibrate
from semla_ros.demo.model.experiment import SeedScores, score
from semla_ros.demo.model.recipe import Recipe
from semla_ros.demo.model.scenes import render_domains, render_test_set
from semla_ros.library.retrieval import settings_from
from semla_ros.prepare.training.runner import Runner

logger = logging.getLogger(__name__)

UNCALIBRATED = AdaptationDefaults(0.05, 5, "euclidean", "inverse", -1.0, 0.0, 1e6)


@contextmanager
def stage(work: Path, name: str) -> Iterator[None]:
    """Note how long a stage took, so that a resumed run still knows the whole time."""
    started = time.monotonic()
    yield
    path = work / "seconds.json"
    seconds = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    seconds[name] = round(time.monotonic() - started, 1)
    path.write_text(json.dumps(seconds, indent=1), encoding="utf-8")
    logger.info("%s: %.0f s", name, seconds[name])


def minutes(work: Path) -> float:
    """Return how long all stages took."""
    seconds = json.loads((work / "seconds.json").read_text(encoding="utf-8"))
    return float(sum(seconds.values())) / 60


def thread_count() -> int:
    """Return how many CPU threads torch has."""
    return torch.get_num_threads()


def calibrated(bundle: ModelBundle, recipe: Recipe) -> ModelBundle:
    """Return `bundle` with the settings that serve unseen validation scenes best.

    Raises:
        BundleError: Its library is not sound.
    """
    scenes = render_domains(
        first_seed=recipe.seeds.validation, count=recipe.validation_scenes, title="validation"
    )
    return reseal(bundle, defaults=calibrate(_runner(bundle), scenes))


def tested(bundle: ModelBundle, recipe: Recipe) -> tuple[SeedScores, ...]:
    """Return the scores of every test set, and keep them as `results.json` in the bundle.

    Raises:
        BundleError: Its library is not sound.
    """
    settings = settings_from(Config(), bundle.manifest.defaults)
    runner = _runner(bundle)
    results = []
    for number in range(recipe.test_seeds):
        scenes = render_test_set(number, count=recipe.test_scenes)
        results.append(score(runner, scenes, settings, title=f"test set {number}"))
    path = bundle.root / "results.json"
    path.write_text(json.dumps([asdict(r) for r in results], indent=1), encoding="utf-8")
    return tuple(results)


def _runner(bundle: ModelBundle) -> Runner:
    runner = Runner.open(bundle)
    if problems := runner.library.problems:
        raise BundleError(f"expected a sound library, got problems {dict(problems)!r}")
    return runner
