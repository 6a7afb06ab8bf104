"""`semla bench generation`: adapters from words for masks, each domain without its own adapter.

Scores lie in the work folder; a run that was broken off goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from semla_ros.bench.generation.cost import cost_rows
from semla_ros.bench.generation.ladder import trained_snapshots
from semla_ros.bench.generation.masks import centroid_rows, fixed_rows, left_of, live_rows
from semla_ros.bench.generation.rungs import SAMPLED, rung_rows
from semla_ros.bench.record import BenchRecord, Row
from semla_ros.bundle import ModelBundle, open_bundle
from semla_ros.core.config import Config
from semla_ros.core.errors import ConfigError
from semla_ros.data.metrics import harmonic_mean
from semla_ros.demo.model.experiment import score, spread_cell
from semla_ros.demo.model.scenes import render_test_set
from semla_ros.evaluation.files import write_file
from semla_ros.library.retrieval import RetrievalSettings, settings_from
from semla_ros.prepare.training.recipe import ADAPTER, Recipe, changed, read_recipe
from semla_ros.prepare.training.runner import Runner
from semla_ros.prepare.training.workplace import digest

WORDS, LADDER, COST = "words", "ladder", "cost"
TABLES = (WORDS, LADDER, COST)
_TITLES = {WORDS: "The demo library", LADDER: "Adapters of one start"}
_KNOWN = {
    "zero-shot": "zero-shot",
    "uniform": "control: uniform",
    "semla-loo": "SemLA (sees images)",
    "semla": "SemLA, whole library (sees images, own adapter)",
    "oracle": "oracle: its own adapter",
}
Say = Callable[[str], None]
Scores = dict[str, dict[str, float]]
"""Row -> domain -> mIoU, percent."""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What is to be tried.

    Attributes:
        bundle: The demo's, with captions.
        work: Folder of adapters and scores; kept.
        tables: Of `TABLES`.
        sets: Disjoint sets of test scenes for the demo library.
        seeds: Libraries that are trained for the ladder.
        train, test: Scenes of each domain.
        steps: Of training; 0: as the bundle's recipe says.
    """

    bundle: Path
    work: Path
    tables: tuple[str, ...] = TABLES
    sets: int = 3
    seeds: int = 3
    train: int = 240
    test: int = 30
    steps: int = 0

    def __post_init__(self) -> None:
        if not self.tables or set(self.tables) - set(TABLES):
            raise ConfigError(f"expected tables of {TABLES!r}, got {self.tables!r}")
        least = {"sets": 1, "seeds": 1, "train": 8, "test": 1, "steps": 0}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ConfigError(f"expected {name} >= {bound}, got {getattr(self, name)!r}")


def run_generation(request: GenerationRequest, *, command: str, say: Say) -> BenchRecord:
    """Return the record of all tables.

    Raises:
        SemlaError: A bundle that reads no text, has no captions, or cannot be trained.
    """
    bundle = open_bundle(request.bundle, verify=False)
    tables = []
    if WORDS in request.tables:
        found = [_words(bundle, request, number, say) for number in range(request.sets)]
        tables.append({"title": _TITLES[WORDS], "rows": _rows(found)})
        runner = _runner(bundle)
        places = centroid_rows(runner, left_of(runner))
        runner.close()
        tables.append({"title": "Predicted centroids", "rows": places})
    if LADDER in request.tables:
        found = [_ladder(bundle, request, seed, say) for seed in range(request.seeds)]
        tables.append({"title": _TITLES[LADDER], "rows": _rows(found)})
    if COST in request.tables:
        say(COST)
        tables.append({"title": "What summing five of eight adapters costs", "rows": cost_rows()})
    return BenchRecord(
        "Adapters from words, for masks",
        command,
        (
            {
                "library": bundle.manifest.name,
                "test sets": request.sets,
                "training seeds": request.seeds,
                "train scenes": request.train,
                "test scenes": request.test,
                "steps": _recipe(bundle, request, 0).steps,
            },
        ),
        notes=(
            "mIoU in percent of each domain without its own adapter, and the harmonic mean over "
            "domains; `±` is the standard deviation over test sets (demo library) or over "
            "training seeds (adapters of one start).",
        ),
        extra={"tables": tables},
    )


def _words(bundle: ModelBundle, request: GenerationRequest, number: int, say: Say) -> Scores:
    def make() -> Scores:
        runner, settings = _runner(bundle), _settings(bundle)
        lefts = left_of(runner)
        others = {
            **fixed_rows(runner, lefts, seed=number),
            **live_rows(runner, lefts, settings),
        }
        scenes = render_test_set(number, count=request.test)
        found = score(
            runner, scenes, settings, strategies=(*_KNOWN, *others), others=others, title=WORDS
        )
        runner.close()
        return {_KNOWN.get(row, row): dict(miou) for row, miou in found.miou.items()}

    key = digest([bundle.manifest.files, *_judged_by(bundle), request.test])
    return _kept(request.work / f"{WORDS}-{key}-{number}.json", make, say)


def _ladder(bundle: ModelBundle, request: GenerationRequest, seed: int, say: Say) -> Scores:
    recipe = _recipe(bundle, request, seed)
    key = digest([bundle.manifest.files, repr(recipe), request.train, request.test])

    def make() -> Scores:
        snapshots = trained_snapshots(
            bundle, recipe, count=request.train, folder=request.work / f"{LADDER}-{key}", say=say
        )
        runner = _runner(bundle)
        others = rung_rows(runner, left_of(runner), snapshots, seed=seed)
        scenes, settings = render_test_set(seed, count=request.test), _settings(bundle)
        rows = tuple(others)
        found = score(runner, scenes, settings, strategies=rows, others=others, title=LADDER)
        runner.close()
        return _samples_together({row: dict(miou) for row, miou in found.miou.items()})

    judged = digest([key, *_judged_by(bundle)])
    return _kept(request.work / f"{LADDER}-{judged}.json", make, say)


def _samples_together(scores: Scores) -> Scores:
    """Return the scores with the samples of one row as their mean."""
    groups: dict[str, list[dict[str, float]]] = {}
    for row, miou in scores.items():
        groups.setdefault(row.partition(SAMPLED)[0], []).append(miou)
    return {
        row: {d: sum(each[d] for each in found) / len(found) for d in found[0]}
        for row, found in groups.items()
    }


def _kept(path: Path, make: Callable[[], Scores], say: Say) -> Scores:
    if not path.is_file():
        say(path.stem)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, json.dumps(make(), indent=1) + "\n")
    scores: Scores = json.loads(path.read_text(encoding="utf-8"))
    return scores


def _recipe(bundle: ModelBundle, request: GenerationRequest, seed: int) -> Recipe:
    common = read_recipe(None, bundle, kind=ADAPTER)[1]
    steps = request.steps or common.steps
    return changed(
        common,
        {
            "init": "rrqr",
            "rank": 6,
            "sub_rank": 2,
            "weight_decay": 0,
            "steps": steps,
            "warmup": steps // 10,
            "evaluate_every": max(1, steps // 50),
            "patience": 0,
            "seed": seed,
        },
    )


def _runner(bundle: ModelBundle) -> Runner:
    return Runner.open(bundle, threads=1)


def _settings(bundle: ModelBundle) -> RetrievalSettings:
    return settings_from(Config(), bundle.manifest.defaults)


def _judged_by(bundle: ModelBundle) -> list[str]:
    """Return what decides scores beside the networks: settings, then the seals of the library."""
    seals = sorted(bundle.library.glob("*/SHA256SUMS"))
    settings = repr(bundle.manifest.defaults)
    return [settings, *(path.read_text(encoding="utf-8") for path in seals)]


def _rows(found: Sequence[Scores]) -> list[Row]:
    rows: list[Row] = []
    for name in found[0]:
        cells: dict[str, str] = {"adapter": name}
        for domain in found[0][name]:
            cells[domain] = spread_cell([scores[name][domain] for scores in found])
        cells["h-mean"] = spread_cell([harmonic_mean(list(s[name].values())) for s in found])
        rows.append(cells)
    return rows
