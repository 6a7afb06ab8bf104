"""SG-LoRA in small, from end to end at its smallest: tables, picture, and nothing done twice."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch: scripts/setup --dev")

import torch

from semla_ros.bench.generation import clip_tasks, scenes, sg_lora, sg_lora_bench
from semla_ros.bench.generation.clip_novice import KNOWN, TRAINING, train_novice
from semla_ros.bench.generation.clip_tasks import ClipTask, Pairs
from semla_ros.bench.generation.clip_tower import ImageTower, changes_of, start
from semla_ros.bench.generation.clip_train import TaskTraining, recall, train_task
from semla_ros.bench.generation.cvae import CvaeOptions
from semla_ros.bench.generation.scenes import THINGS, CaptionedScenes
from semla_ros.bench.generation.sg_lora import unseen_tasks
from semla_ros.bench.generation.sg_lora_bench import PICTURE, SgLoraRequest, run_sg_lora
from semla_ros.cli import main
from semla_ros.demo.world import DOMAINS
from semla_ros.prepare.bundler.clip import ClipSize, create_clip

DEMO = Path(__file__).resolve().parents[3] / "models" / "demo"
needs_text = pytest.mark.skipif(
    not (DEMO / "navigator_text.onnx").is_file(),
    reason="the demo bundle has no navigator_text.onnx: scripts/make_demo_model",
)
FEW = ("clear-day", "fog-day", "rain-night", "snow-night")


def test_the_novice_learns_what_it_is_shown():
    rng = np.random.default_rng(0)
    texts = rng.normal(size=(2, 8)).astype(np.float32)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)

    class Text:
        def encode(self, said):
            return np.stack([texts[int(each)] for each in said])

    def scenes(which):
        images = rng.normal(2 * which - 1, 0.1, (12, 3, 64, 64)).astype(np.float32)
        return CaptionedScenes(images, np.zeros((12, 3)), np.full((12, 2), str(which)))

    known = [scenes(0), scenes(1)]
    tower = train_novice(known, Text(), replace(TRAINING, steps=8, batch_size=8))
    with torch.no_grad():
        for which, each in enumerate(known):
            found = tower.embed(torch.from_numpy(each.images), changes_of(start(tower, seed=0)))
            assert (found.numpy() @ texts.T).argmax(axis=1).tolist() == [which] * 12


def pairs(images, texts):
    return Pairs(torch.tensor(images), torch.tensor(texts)[:, None])


class Plain:
    """A tower that embeds an image as itself."""

    def embed(self, images, changes):
        return images


def test_recall_counts_what_is_of_the_same_place():
    own = pairs([[1.0, 0.0], [0.8, 0.6]], [[1.0, 0.0], [0.6, 0.8]])
    far = pairs([[0.0, 1.0], [0.6, 0.8]], [[0.0, 1.0], [0.8, 0.6]])
    found = recall(Plain(), own, [far], {})
    # images: [1, 0] finds own, far, own, far; [.8, .6] finds far, own, own, far
    assert found["i2t@1"] == 50
    assert found["i2t@5"] == 100
    assert found["i2t@R"] == 50
    # captions: [1, 0] finds own, own, far, far; [.6, .8] finds far, own, far, own
    assert found["t2i@1"] == 50
    assert found["t2i@R"] == 75


def test_an_adapter_finds_its_task_among_others():
    """One that told its own images from nothing would leave this at chance."""
    torch.manual_seed(0)
    tower = train_novice_on_noise()
    rng = np.random.default_rng(1)

    def task(domain, look, text):
        images = rng.normal(look, 0.1, (12, 3, 64, 64)).astype(np.float32)
        each = Pairs(torch.from_numpy(images), torch.tensor(text).expand(12, 2, 2).contiguous())
        return ClipTask(domain, "car", each, each)

    own, far = task("a", 1.0, [1.0, 0.0]), task("b", -1.0, [0.0, 1.0])
    first = start(tower, seed=0)
    before = recall(tower, own.test, [far.test], changes_of(first))
    how = TaskTraining(epochs=10, batch=6, snapshots=2)
    *_, last = train_task(tower, own, [far], first, how)
    after = recall(tower, own.test, [far.test], changes_of(last))
    assert after["i2t@1"] == after["t2i@R"] == 100
    assert before["t2i@R"] + before["i2t@1"] < 200


def train_novice_on_noise():
    module = create_clip(ClipSize(embed_dim=2), seed=3).visual
    return ImageTower(module.eval().requires_grad_(False))


def test_what_is_kept_back_has_relatives_among_the_known():
    nothing = pairs([[1.0, 0.0]], [[1.0, 0.0]])
    tasks = [ClipTask(d, t, nothing, nothing) for d in DOMAINS for t in THINGS]
    kept = [unseen_tasks(tasks, seed) for seed in range(3)]
    assert sorted(sum(kept, ())) == sorted(t.name for t in tasks if t.domain not in KNOWN)
    for unseen in kept:
        known = [t for t in tasks if t.name not in unseen]
        for task in (t for t in tasks if t.name in unseen):
            assert sum(t.domain == task.domain for t in known) == 2
            assert sum(t.thing == task.thing for t in known) >= 6


@needs_text
@pytest.mark.slow
def test_it_makes_all_tables_and_does_nothing_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(clip_tasks, "DOMAINS", FEW)
    monkeypatch.setattr(scenes, "COUNTS", {"train": 36, "test": 12, "novice": 6})
    monkeypatch.setattr(sg_lora_bench, "TRAINING", replace(TRAINING, steps=2, batch_size=4))
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
