"""SG-LoRA in small, from end to end at its smallest: tables, picture, and nothing done twice."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch: scripts/setup --dev")

from semla_ros.bench.generation import clip_tasks, sg_lora, sg_lora_bench
from semla_ros.bench.generation.clip_tower import changes_of, open_tower, start
from semla_ros.bench.generation.cvae import CvaeOptions
from semla_ros.bench.generation.sg_lora_bench import PICTURE, SgLoraRequest, run_sg_lora
from semla_ros.bundle import open_bundle
from semla_ros.cli import main
from semla_ros.core.errors import BundleError
from semla_ros.navigator.encoder import OnnxImageEncoder

DEMO = Path(__file__).resolve().parents[3] / "models" / "demo"
needs_text = pytest.mark.skipif(
    not (DEMO / "navigator_text.onnx").is_file(),
    reason="the demo bundle has no navigator_text.onnx: scripts/make_demo_model",
)
FEW = ("clear-day", "fog-night", "rain-day", "snow-night")


def test_the_tower_is_the_navigators():
    bundle = open_bundle(DEMO, verify=False)
    tower = open_tower(bundle)
    rgb = np.random.default_rng(0).integers(0, 256, (96, 160, 3), dtype=np.uint8)
    wanted = OnnxImageEncoder(bundle, threads=1).encode(rgb)
    found = tower.embed(tower.images([rgb]), changes_of(start(tower, seed=0)))[0].numpy()
    np.testing.assert_allclose(found, wanted / np.linalg.norm(wanted), atol=1e-5)


def test_another_navigator_is_refused(small):
    with pytest.raises(BundleError, match="expected the demo's navigator"):
        open_tower(small)


@pytest.fixture
def small(tmp_path):
    from small_bundle import small_bundle

    return open_bundle(small_bundle(tmp_path / "small"), verify=False)


@needs_text
@pytest.mark.slow
def test_it_makes_all_tables_and_does_nothing_twice(tmp_path, monkeypatch):
    for module in (clip_tasks, sg_lora):
        monkeypatch.setattr(module, "DOMAINS", FEW)
    monkeypatch.setattr(clip_tasks, "COUNTS", {"train": 36, "test": 12})
    monkeypatch.setattr(sg_lora, "CvaeOptions", partial(CvaeOptions, steps=3))
    request = SgLoraRequest(DEMO, tmp_path, seeds=1, epochs=2)
    record = run_sg_lora(request, command="c", say=str)
    tables = {table["title"]: table["rows"] for table in record.extra["tables"]}
    assert list(tables) == [
        sg_lora.METHODS,
        sg_lora.CONDITION,
        sg_lora.WORDS,
        sg_lora.EXPERT,
        sg_lora.SEEN,
    ]
    rows = {row["adapter"]: row for row in tables[sg_lora.METHODS]}
    assert {"zero-shot", "SG-LoRA", "control: shuffled descriptions"} <= rows.keys()
    for row in rows.values():
        assert 0 <= float(row["i2t@1"]) <= float(row["i2t@5"]) <= float(row["i2t@10"]) <= 100
    (place,) = (path.parent for path in tmp_path.glob(f"*/{PICTURE}"))
    assert (place / PICTURE).read_text().startswith("<svg")

    def again(*_, **__):
        raise AssertionError("trained twice")

    monkeypatch.setattr(sg_lora_bench, "train_task", again)
    assert run_sg_lora(request, command="c", say=str).extra == record.extra


@pytest.mark.parametrize(
    ("words", "said"), [(["--seeds", "0"], "seeds >= 1"), (["--epochs", "1"], "epochs >= 2")]
)
def test_what_makes_no_sense_is_one_line(words, said, tmp_path, capsys):
    where = ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "x.json")]
    assert main(["bench", "sg-lora", *where, *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
