"""The experiments on adapters: rows that fit the demo base, and one tiny run from end to end."""

from __future__ import annotations

import json
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs torch: scripts/setup --dev")

from semla_ros.bench import adapter_bench, adapter_runs
from semla_ros.bench.adapter_bench import AdapterBenchRequest, run_adapters
from semla_ros.bench.adapter_rows import LORA, RECYCLED, SEMLA_LAYERS, TABLES
from semla_ros.bench.adapter_runs import Bench, trainable
from semla_ros.bench.adapter_world import TEST, TRAIN, World
from semla_ros.bundle import open_bundle
from semla_ros.cli import main
from semla_ros.pipeline import default_bundle
from semla_ros.prepare.training.recipe import Recipe


def test_all_rows_are_recipes_and_equal_tables_train_as_many_parameters(tmp_path: Path) -> None:
    base = open_bundle(default_bundle(), verify=False)
    world = World(tmp_path, ("fog-day",), 1, 1)
    bench = Bench(base, world, Recipe(), Recipe(), tmp_path, 1, print)
    for rows in TABLES.values():
        for row in rows:
            assert row.recipe(Recipe(), seed=7).seed == 7
    assert len({trainable(bench, row) for row in TABLES["init"]}) == 1
    assert len({trainable(bench, row) for row in TABLES["sub-rate"]}) == 1
    assert RECYCLED.recipe(Recipe(), seed=0).alpha == LORA.recipe(Recipe(), seed=0).alpha == 16


def test_the_patterns_name_semlas_layers() -> None:
    names = [layer.name for layer in open_bundle(default_bundle(), verify=False).manifest.layers]
    patterns = SEMLA_LAYERS.split(",")
    assert all(any(fnmatchcase(name, p) for p in patterns) for name in names)
    clip = "sem_seg_head.predictor.clip_model."
    for tower in ("visual.", ""):
        for leaf in ("q_proj", "out_proj"):
            name = f"{clip}{tower}transformer.resblocks.0.attn.{leaf}"
            assert not any(fnmatchcase(name, p) for p in patterns)


def test_no_scene_is_in_both_splits(tmp_path: Path) -> None:
    world = World(tmp_path, ("fog-day", "snow-night"), 3, 2)
    world.make()
    seen = {}
    for split, count in ((TRAIN, 3), (TEST, 2)):
        tasks = world.tasks(split)
        assert [task.domain for task in tasks] == ["fog-day", "snow-night"]
        for task in tasks:
            files = sorted(task.path.iterdir())
            assert len(files) == count
            assert task.label_folder is not None
            assert [p.name for p in sorted(task.label_folder.iterdir())] == [p.name for p in files]
            seen |= {p.read_bytes(): p for p in files}
    assert len(seen) == 10


def test_a_run_makes_a_table_and_does_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter_bench, "TABLES", {"init": (LORA,)})
    request = AdapterBenchRequest(
        default_bundle(),
        tmp_path,
        tables=("init",),
        seeds=1,
        domains=("clear-day", "fog-night"),
        train=12,
        test=1,
        steps=1,
    )
    first = run_adapters(request, command="c", say=str)
    base, row = first.extra["tables"][0]["rows"]
    assert base["training"] == "base alone"
    assert row["trainable"] > 0
    for column in ("oracle", "semla_leave_one_out", "oracle_other_names", "semla_other_names"):
        assert 0 < float(row[column]) < 100
    (run,) = (tmp_path / "runs").iterdir()
    assert [p.name for p in run.iterdir()] == ["scores.json"]
    scores = json.loads((run / "scores.json").read_text())
    assert scores["oracle"] != scores["oracle with other names"], "they are other prompts"

    def again(*_: object, **__: object) -> None:
        raise AssertionError("trained twice")

    monkeypatch.setattr(adapter_runs, "train_library", again)
    assert run_adapters(request, command="c", say=str).extra == first.extra
    with pytest.raises(AssertionError, match="trained twice"):
        run_adapters(replace(request, steps=2), command="c", say=str)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tables", "nine"], "'nine'"),
        (["--domains", "fog-day"], "two domains or more"),
        (["--domains", "fog-day,mars"], "'mars'"),
        (["--seeds", "0"], "seeds >= 1"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "x.json")]
    assert main(["bench", "adapters", *where, *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())
