"""Adapters from words for masks, from end to end at its smallest."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch: scripts/setup --dev")

from fakes import fake_adapter

from semla_ros.bench.generation import ladder, masks_bench
from semla_ros.bench.generation.cost import cost_rows
from semla_ros.bench.generation.cvae import CvaeOptions
from semla_ros.bench.generation.ladder import Latent
from semla_ros.bench.generation.masks import GENERATED, random_like
from semla_ros.bench.generation.masks_bench import GenerationRequest, run_generation
from semla_ros.bundle import open_bundle
from semla_ros.cli import main
from semla_ros.demo.model.scenes import render_domain
from semla_ros.prepare.generation.combine import change_norm

DEMO = Path(__file__).resolve().parents[3] / "models" / "demo"
needs_text = pytest.mark.skipif(
    not (DEMO / "navigator_text.onnx").is_file(),
    reason="the demo bundle has no navigator_text.onnx: scripts/make_demo_model",
)
FEW = ("clear-day", "clear-night", "rain-day", "rain-night")


def test_the_latent_holds_what_few_snapshots_span():
    rows = np.random.default_rng(0).normal(size=(6, 50)).astype(np.float32)
    latent = Latent.of(rows)
    assert latent.axes.shape == (5, 50)
    np.testing.assert_allclose(latent.axes @ latent.axes.T, np.eye(5), atol=1e-5)
    np.testing.assert_allclose(latent.up(latent.down(rows)), rows, atol=1e-4)


def test_random_adapters_are_as_large_as_what_they_stand_for():
    adapter = fake_adapter("fog", {"a": (6, 5), "b": (4, 9)}, rank=2)
    drawn = random_like(adapter, np.random.default_rng(0))
    for name, layer in adapter.layers.items():
        np.testing.assert_allclose(change_norm(drawn.layers[name]), change_norm(layer), rtol=1e-4)
        assert (drawn.layers[name].lora_a != layer.lora_a).any()


@needs_text
@pytest.mark.slow
def test_it_makes_all_tables_and_does_nothing_twice(tmp_path, monkeypatch):
    root = tmp_path / "demo"
    shutil.copytree(DEMO, root, copy_function=os.link)
    for path in (root / "library").iterdir():
        if path.name not in FEW:
            shutil.rmtree(path)

    def few_scenes(number, *, count):
        return tuple(render_domain(d, first_seed=number, count=count) for d in FEW)

    monkeypatch.setattr(masks_bench, "render_test_set", few_scenes)
    monkeypatch.setattr(ladder, "DOMAINS", FEW)
    monkeypatch.setattr(ladder, "CVAE", CvaeOptions(latent=4, steps=3))
    request = GenerationRequest(
        root, tmp_path / "work", ("words", "ladder"), sets=1, seeds=1, train=8, test=1, steps=4
    )
    record = run_generation(request, command="c", say=str)
    words, places, rungs = (table["rows"] for table in record.extra["tables"])
    assert GENERATED in {row["adapter"] for row in words}
    assert all(0 < float(row["h-mean"]) < 100 for row in (*words, *rungs))
    assert {"L3, CVAE in the latent", "L0, weighted mean of factors"} <= {
        row["adapter"] for row in rungs
    }
    assert [row["domain"] for row in places] == list(FEW)

    def again(*_, **__):
        raise AssertionError("done twice")

    monkeypatch.setattr(masks_bench, "score", again)
    assert run_generation(request, command="c", say=str).extra == record.extra


def test_it_tells_what_generating_costs():
    (row,) = cost_rows(["demo_bundle"])
    assert row["layers"] > 30
    assert 0 < row["seconds"] < 60
    one = row["values of an adapter"] * 4 / 2**20
    assert one < row["peak MiB"] < 100 * one, "no change of a layer is ever whole for all layers"


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--tables", "nine"], "'nine'"), (["--sets", "0"], "sets >= 1"), (["--train", "2"], ">= 8")],
)
def test_what_makes_no_sense_is_one_line(words, said, tmp_path, capsys):
    where = ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "x.json")]
    assert main(["bench", "generation", *where, *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_scores_of_other_settings_are_not_taken_for_these():
    bundle = open_bundle(DEMO, verify=False)
    defaults = replace(bundle.manifest.defaults, text_temperature=0.7)
    other = replace(bundle, manifest=replace(bundle.manifest, defaults=defaults))
    assert masks_bench._judged_by(bundle) != masks_bench._judged_by(other)
    assert len(masks_bench._judged_by(bundle)) == 9  # settings and eight seals
