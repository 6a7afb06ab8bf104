"""`semla bench sg-lora`: the tables of SG-LoRA in small, and a picture of the parameters.

A seed is trained, judged and written; a run that was broken off goes on with the next seed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from semla_ros.bench.generation.clip_novice import KNOWN, TRAINING, train_novice
from semla_ros.bench.generation.clip_tasks import ClipTask, clip_tasks
from semla_ros.bench.generation.clip_tower import ImageTower, start
from semla_ros.bench.generation.clip_train import TaskTraining, train_task
from semla_ros.bench.generation.picture import (
    GENERATED,
    TRAINED,
    WEIGHTED,
    Drawn,
    draw_parameters,
)
from semla_ros.bench.generation.scenes import (
    COUNTS,
    NOVICE,
    TEST,
    THINGS,
    TRAIN,
    captioned_scenes,
)
from semla_ros.bench.generation.sg_lora import (
    WORDING,
    Comparison,
    Library,
    Scores,
    described,
    elsewhere,
    generator_of,
    unseen_tasks,
)
from semla_ros.bench.generation.vector import factors_of
from semla_ros.bench.record import BenchRecord, Cell
from semla_ros.bundle import ModelBundle, open_bundle
from semla_ros.core.errors import ConfigError
from semla_ros.demo.model.experiment import spread_cell
from semla_ros.evaluation.files import write_file
from semla_ros.navigator.text_encoder import OnnxTextEncoder
from semla_ros.prepare.training.workplace import digest

Say = Callable[[str], None]
Tables = dict[str, Scores]
PICTURE = "parameters.svg"
_DRAWN = 3


@dataclass(frozen=True, slots=True)
class SgLoraRequest:
    """What is to be tried.

    Attributes:
        bundle: Its navigator reads text.
        work: Folder of what was found; kept.
        seeds: Each keeps other tasks back, and trains all adapters anew.
        epochs: Of each adapter.
    """

    bundle: Path
    work: Path
    seeds: int = 3
    epochs: int = 20

    def __post_init__(self) -> None:
        for name, least in (("seeds", 1), ("epochs", 2)):
            if getattr(self, name) < least:
                raise ConfigError(f"expected {name} >= {least}, got {getattr(self, name)!r}")


def run_sg_lora(request: SgLoraRequest, *, command: str, say: Say) -> BenchRecord:
    """Return the record of all tables: recall in percent, the mean over seeds and its spread.

    Raises:
        SemlaError: A navigator that reads no text.
    """
    bundle = open_bundle(request.bundle, verify=False)
    place = request.work / digest([bundle.manifest.files, request.epochs, COUNTS, repr(TRAINING)])
    found = [_seed(bundle, place, seed, request.epochs, say) for seed in range(request.seeds)]
    tables = [{"title": title, "rows": _rows([f[title] for f in found])} for title in found[0]]
    return BenchRecord(
        "SG-LoRA in small",
        command,
        (
            {
                "navigator": bundle.manifest.name,
                "seeds": request.seeds,
                "epochs": request.epochs,
                "train images": COUNTS[TRAIN] // len(THINGS),
                "test pairs of each place": COUNTS[TEST] // len(THINGS),
            },
        ),
        notes=(
            "Recall and R-precision in percent, image to text and text to image, among the test "
            "pairs of the same thing at all eight places; what is of the task's place is right. "
            "`±` is the standard deviation over seeds, which differ in the tasks kept back and "
            "in all random numbers.",
            "Controls stand in the first table; generated rows are the mean over five samples.",
        ),
        extra={"tables": tables},
    )


def _seed(bundle: ModelBundle, place: Path, seed: int, epochs: int, say: Say) -> Tables:
    path = place / f"seed-{seed}.json"
    if not path.is_file():
        place.mkdir(parents=True, exist_ok=True)
        text = OnnxTextEncoder(bundle)
        scenes = place.parent / "scenes"
        known = [captioned_scenes(domain, NOVICE, scenes) for domain in KNOWN]
        tower = train_novice(known, text, replace(TRAINING, seed=seed, title="novice"))
        tasks = clip_tasks(text, scenes)
        library = _trained(tower, tasks, text, seed=seed, epochs=epochs, say=say)
        comparison = Comparison(library, generator_of(library, seed=seed), seed)
        if seed == 0:
            write_file(place / PICTURE, _picture(comparison))
        write_file(path, json.dumps(comparison.tables(), indent=1) + "\n")
    tables: Tables = json.loads(path.read_text(encoding="utf-8"))
    return tables


def _trained(
    tower: ImageTower,
    tasks: Sequence[ClipTask],
    text: OnnxTextEncoder,
    *,
    seed: int,
    epochs: int,
    say: Say,
) -> Library:
    first = start(tower, seed=seed)
    how = TaskTraining(epochs=epochs, snapshots=epochs // 2, seed=seed)
    snapshots, layout = {}, None
    unseen = unseen_tasks(tasks, seed)
    say(f"seed {seed}: {', '.join(unseen)} are kept back")
    seen = [t for t in tasks if t.name not in unseen]
    for task in tasks:
        kept = train_task(tower, task, elsewhere(seen, task), first, how)
        snapshots[task.name], layout = factors_of(kept, gauge=f"kaiming, seed {seed}")
        say(f"seed {seed}: trained {task.name}")
    if layout is None:
        raise ConfigError("expected tasks, got none")
    words, looks = described(tower, tasks, text)
    by_name = {task.name: task for task in tasks}
    return Library(tower, by_name, snapshots, layout, words, looks, unseen)


def _picture(comparison: Comparison) -> str:
    """Return the snapshots of all tasks with what is generated for the unseen ones, as SVG."""
    library = comparison.library
    groups = [
        Drawn(task if task in library.unseen else "", TRAINED, vectors)
        for task, vectors in library.snapshots.items()
    ]
    for task in library.unseen:
        weights = library.weights(library.words[task][WORDING], library.seen)
        prior = library.prior(weights, library.seen)
        generated = comparison.generator.sample(prior, _DRAWN, seed=comparison.seed)
        groups.append(Drawn(task, GENERATED, generated))
        groups.append(Drawn(task, WEIGHTED, prior.mean.astype(np.float32)[None]))
    return draw_parameters(groups, seed=comparison.seed)


def _rows(found: Sequence[Scores]) -> list[Mapping[str, Cell]]:
    rows: list[Mapping[str, Cell]] = []
    for name in found[0]:
        cells: dict[str, Cell] = {"adapter": name}
        for key in found[0][name]:
            cells[key] = spread_cell([scores[name][key] for scores in found])
        rows.append(cells)
    return rows
