"""`semla bench adapters`: how libraries are best trained, table by table.

Any number of libraries of the demo world, each trained by `semla train library` from the demo base
and judged by `semla evaluate`. A run that was broken off goes on: adapters that are there stay,
the one under way goes on with its checkpoint, and a library that was judged is not made again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semla_ros.bench.adapter_rows import TABLES, Row
from semla_ros.bench.adapter_runs import (
    OTHER_NAMES,
    Bench,
    Say,
    scores_of,
    trainable,
)
from semla_ros.bench.adapter_world import World
from semla_ros.bench.record import BenchRecord, Cell
from semla_ros.bundle import ModelBundle, open_bundle
from semla_ros.core.errors import ConfigError
from semla_ros.demo.model.experiment import spread_cell
from semla_ros.demo.world import DOMAINS
from semla_ros.evaluation.study.study import ORACLE, SEMLA, UNIFORM, ZERO_SHOT
from semla_ros.prepare.bundler.rewrite import open_attention
from semla_ros.prepare.training.recipe import ADAPTER, BASE, changed, read_recipe

BASE_ALONE = "base alone"
_COLUMNS = {
    "oracle": ORACLE,
    "uniform_leave_one_out": UNIFORM,
    "semla_leave_one_out": SEMLA,
    "oracle_other_names": f"{ORACLE}{OTHER_NAMES}",
    "semla_other_names": f"{SEMLA}{OTHER_NAMES}",
}


@dataclass(frozen=True, slots=True)
class AdapterBenchRequest:
    """What is to be tried.

    Attributes:
        bundle: The base.
        work: Folder of frames, runs and their scores; kept.
        tables: Names of `TABLES`.
        seeds: Libraries of each row, differing in the seed of their training.
        domains: Of the demo world.
        train, test: Frames of each domain.
        steps: Of each adapter and base; 0: as the bundle's recipes say.
        jobs: Domains side by side.
    """

    bundle: Path
    work: Path
    tables: tuple[str, ...] = tuple(TABLES)
    seeds: int = 3
    domains: tuple[str, ...] = DOMAINS
    train: int = 240
    test: int = 30
    steps: int = 0
    jobs: int = 1

    def __post_init__(self) -> None:
        for what, asked, known in (
            ("tables", self.tables, tuple(TABLES)),
            ("domains", self.domains, DOMAINS),
        ):
            if not asked or set(asked) - set(known):
                raise ConfigError(f"expected {what} of {known!r}, got {asked!r}")
        if len(self.domains) < 2:
            raise ConfigError(
                f"expected two domains or more, of which one can be left out, got {self.domains!r}"
            )
        for name, least in (("seeds", 1), ("train", 8), ("test", 1), ("jobs", 1), ("steps", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"expected {name} >= {least}, got {getattr(self, name)!r}")


def run_adapters(request: AdapterBenchRequest, *, command: str, say: Say) -> BenchRecord:
    """Return the record of all tables; in percent, the mean over seeds and its spread.

    Raises:
        SemlaError: A row cannot be trained or judged.
    """
    bench = _bench(request, say)
    tables = [{"title": name, "rows": _table(bench, request, name)} for name in request.tables]
    return BenchRecord(
        "Training adapters",
        command,
        (
            {
                "base": bench.base.manifest.name,
                "domains": len(request.domains),
                "seeds": request.seeds,
                "train frames": request.train,
                "test frames": request.test,
                "steps": bench.common.steps,
                "steps, full": bench.full.steps,
            },
        ),
        notes=(
            "Harmonic means over domains of mIoU in percent, on scenes that no run has seen; "
            "`±` is the standard deviation over seeds of training, test scenes being the same.",
            "Uniform and SemLA without the adapter of the frame's own domain, and without a null "
            "adapter; other names are synonyms of the classes that no adapter was trained with.",
        ),
        extra={"tables": tables},
    )


def _bench(request: AdapterBenchRequest, say: Say) -> Bench:
    base = _open_base(request)
    steps = {"steps": request.steps, "warmup": request.steps // 10} if request.steps else {}
    adapter, full = (
        changed(read_recipe(None, base, kind=kind)[1], {**steps, "patience": 0})
        for kind in (ADAPTER, BASE)
    )
    world = World(request.work / "world", request.domains, request.train, request.test)
    world.make()
    return Bench(base, world, adapter, full, request.work / "runs", request.jobs, say)


def _open_base(request: AdapterBenchRequest) -> ModelBundle:
    given = open_bundle(request.bundle)
    out = request.work / f"base-{given.manifest.base_model.rpartition(':')[2]}"
    if out.is_dir():
        return open_bundle(out)
    return open_attention(given, out, library=False)


def _table(bench: Bench, request: AdapterBenchRequest, name: str) -> list[dict[str, Cell]]:
    rows: list[dict[str, Cell]] = []
    for row in TABLES[name]:
        found = [scores_of(bench, row, seed) for seed in range(request.seeds)]
        if not rows and not row.full:
            rows.append(_base_row(found[0]))
        rows.append(_row(bench, row, found))
    return rows


def _base_row(scores: Mapping[str, float]) -> dict[str, Cell]:
    names = f"{ZERO_SHOT}{OTHER_NAMES}"
    zero, other = f"{scores[ZERO_SHOT]:.1f}", f"{scores[names]:.1f}"
    values = {column: other if OTHER_NAMES in key else zero for column, key in _COLUMNS.items()}
    return {"training": BASE_ALONE, "trainable": 0, **values}


def _row(bench: Bench, row: Row, found: list[dict[str, float]]) -> dict[str, Cell]:
    cells: dict[str, Any] = {"training": row.name, "trainable": trainable(bench, row)}
    for column, key in _COLUMNS.items():
        if key in found[0]:
            cells[column] = spread_cell([scores[key] for scores in found])
    return cells
