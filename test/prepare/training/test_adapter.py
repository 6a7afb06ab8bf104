"""`semla train adapter` as a whole: an entry that everything takes, or nothing at all."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest

from semla_ros.bundle import open_bundle
from semla_ros.core.errors import TrainingError
from semla_ros.data.tasks import tasks_of
from semla_ros.library.library import AdapterLibrary
from semla_ros.library.storage import read_adapter, read_whole_adapter
from semla_ros.prepare.bundler.rewrite import open_attention
from semla_ros.prepare.curation.audit import audit_library
from semla_ros.prepare.curation.licence import stated_licence
from semla_ros.prepare.curation.verify import verify_library
from semla_ros.prepare.training.adapter import train_adapter
from semla_ros.prepare.training.base import BaseRequest, train_base
from semla_ros.prepare.training.ground import DataRequest
from semla_ros.prepare.training.networks import trained_network
from semla_ros.prepare.training.recipe import DEAD_QKV, OFFICIAL
from semla_ros.prepare.training.run import How

_KILLED = """
import os, pickle, signal, sys
from pathlib import Path
from semla_ros.prepare.training.adapter import train_adapter

def say(line):
    if line.startswith("step 2/"):
        os.kill(os.getpid(), signal.SIGKILL)

train_adapter(pickle.loads(Path(sys.argv[1]).read_bytes()), say)
"""


class _EndedError(Exception):
    pass


def _end(line):
    if line.startswith("step 2/"):
        raise _EndedError


def _library(bundle):
    spec = bundle.manifest.navigator
    return AdapterLibrary.open(
        bundle.library,
        layers=bundle.manifest.layers,
        base_model=bundle.manifest.base_model,
        encoder=spec.identity,
        dim=spec.dim,
    )


def test_an_entry_that_verify_audit_and_the_library_take(bundle, request_of):
    told = []
    done = train_adapter(request_of(licence="CC-BY-4.0"), told.append)
    library = _library(open_bundle(bundle.root))
    assert "dusk" in library.names
    assert not library.problems
    assert "dusk" not in library.unsealed
    assert verify_library(bundle.root).passed
    assert audit_library(bundle.root, ["dusk"]).clean
    assert stated_licence(done.folder) == "CC-BY-4.0"
    assert library.statistics["dusk"].count == 10, "all frames but the held-out stretch"
    assert sorted(p.name for p in bundle.library.iterdir() if p.name.startswith(".")) == []
    facts = json.loads(
        (done.folder / "README.md").read_text().split("```")[1].removeprefix("json")
    )
    assert facts["data"]["split"]["held_out"] == {"dusk": [[11, 13]]}
    assert facts["data"]["split"]["unused"] == {"dusk": [[10, 10]]}
    assert facts["recipe"]["steps"] == 6
    text = "\n".join(told)
    for part in (
        "14 labelled frames",
        "10 to train on, 3 held out",
        "1 unused",
        "road",
        "never shown: tree",
        "trainable parameters",
        "on cpu with 1 thread of ",
        "s a step",
        "step 6/6",
        "retrieved without it",
        "wrote ",
    ):
        assert part in text, part


def test_a_dry_run_says_the_plan_and_leaves_no_entry(bundle, request_of):
    told = []
    assert train_adapter(request_of(), told.append, dry_run=True) is None
    assert any("trainable parameters" in line for line in told)
    assert not any("step 2/" in line for line in told)
    assert not (bundle.library / "dusk").exists()


@pytest.mark.parametrize("base", [False, True])
def test_a_dry_run_leaves_an_interrupted_run_as_it_is(request_of, frames, tmp_path, base):
    def run(asked, say, **more):
        if base:
            asked = BaseRequest(asked.bundle, tmp_path / "mine", asked.data, asked.how)
        (train_base if base else train_adapter)(asked, say, **more)

    asked = request_of()
    with pytest.raises(_EndedError):
        run(asked, _end)
    (place,) = tmp_path.rglob(".*.training")
    before = {p: p.read_bytes() for p in place.rglob("*") if p.is_file()}
    assert {"checkpoint.safetensors", "run.json", "pixels.bin"} <= {p.name for p in before}
    (frames[0] / "000.png").unlink()
    for how in (asked.how, replace(asked.how, fresh=True)):
        with nullcontext() if how.fresh else pytest.raises(TrainingError, match="another data"):
            run(replace(asked, how=how), str, dry_run=True)
        assert {p: p.read_bytes() for p in before} == before


def test_a_run_that_was_killed_goes_on_to_the_same_bytes(bundle, request_of, tmp_path):
    import pickle

    asked = request_of()
    (tmp_path / "request").write_bytes(pickle.dumps(asked))
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, str(tmp_path / "request")], env=env, check=False
    )
    assert killed.returncode == -9
    assert not (bundle.library / "dusk").exists()
    assert _library(bundle).problems == {}
    told = []
    resumed = train_adapter(asked, told.append)
    assert "goes on with the checkpoint of an interrupted run" in told
    assert not any(line.startswith("step 2/") for line in told)
    whole = train_adapter(request_of(replace=True), told.append)
    for name, layer in whole.adapter.layers.items():
        assert layer.lora_b.tobytes() == resumed.adapter.layers[name].lora_b.tobytes()


def test_other_data_or_settings_do_not_go_on_with_a_checkpoint(bundle, request_of):
    asked = request_of()
    with pytest.raises(_EndedError):
        train_adapter(asked, _end)
    slower = replace(asked.how, recipe=replace(asked.how.recipe, learning_rate=1e-4))
    with pytest.raises(TrainingError, match=r"got another recipe: .* or --fresh"):
        train_adapter(replace(asked, how=slower), str)
    note = bundle.library / ".dusk.training" / "run.json"
    facts = json.loads(note.read_text())
    note.write_text(json.dumps(facts | {"base": "catseg:another"}))
    with pytest.raises(TrainingError, match="got another base"):
        train_adapter(asked, str)
    assert train_adapter(replace(asked, how=replace(slower, fresh=True)), str) is not None


def test_only_a_fresh_run_reads_the_frames_again(bundle, request_of):
    def end_at_the_plan(_line):
        raise _EndedError

    asked = request_of()
    with pytest.raises(_EndedError):
        train_adapter(asked, end_at_the_plan)
    (pixels,) = bundle.library.glob(".dusk.training/frames-*/pixels.bin")
    content = pixels.read_bytes()
    altered = bytes([content[0] ^ 1]) + content[1:]
    pixels.write_bytes(altered)
    for fresh, expected in ((False, altered), (True, content)):
        with pytest.raises(_EndedError):
            train_adapter(replace(asked, how=replace(asked.how, fresh=fresh)), end_at_the_plan)
        assert pixels.read_bytes() == expected


def test_frames_that_were_learnt_from_are_not_held_out_later(request_of, frames, tmp_path):
    images, labels = frames
    drives = [images, *(shutil.copytree(images, tmp_path / name) for name in ("two", "three"))]
    every = tasks_of([f"dusk={drive}" for drive in drives], labels=[str(labels)])
    with pytest.raises(_EndedError):
        train_adapter(request_of(data=DataRequest(every)), _end)
    with pytest.raises(TrainingError, match=r"got another split: .* or --fresh"):
        train_adapter(request_of(data=DataRequest(every[:2], every[2:])), str)


def test_a_file_of_both_sides_is_refused(request_of, frames, tmp_path):
    images, labels = frames
    (tmp_path / "link").symlink_to(images)
    (tmp_path / "above").mkdir()
    (tmp_path / "above" / "below").symlink_to(images)
    for held_out in ("link", "above"):
        every = tasks_of([f"dusk={images}", f"x={tmp_path / held_out}"], labels=[str(labels)])
        with pytest.raises(TrainingError, match=r"--held-out .* got '.*000.png' in both"):
            train_adapter(request_of(data=DataRequest(every[:1], every[1:])), str)


def test_a_name_that_is_taken_needs_replace(bundle, request_of):
    with pytest.raises(TrainingError, match=r"'fog' exists .* --replace"):
        train_adapter(request_of("fog"), str)
    before = read_adapter(bundle.library / "fog")
    train_adapter(request_of("fog", replace=True), str)
    after = read_adapter(bundle.library / "fog")
    name = next(iter(after.layers))
    assert not np.array_equal(before.layers[name].lora_b, after.layers[name].lora_b)


def test_recycled_siblings_share_their_start_and_open_in_peft(bundle, request_of, recipe):
    recycled = replace(recipe, init="rrqr", sub_rank=1, alpha=5.0, steps=2)
    how = How("test", recycled, request_of().how.hardware, threads=1)
    train_adapter(request_of(how=how), str)
    other = replace(how, recipe=replace(recycled, seed=7))
    train_adapter(request_of("dawn", how=other), str)
    first, second = (read_whole_adapter(bundle.library / name) for name in ("dusk", "dawn"))
    for name, layer in first.layers.items():
        assert layer.lora_a.shape[0] == 10
        np.testing.assert_array_equal(layer.lora_a[5:], second.layers[name].lora_a[5:])
        np.testing.assert_array_equal(layer.lora_b[:, 5:], second.layers[name].lora_b[:, 5:])
    assert verify_library(bundle.root).passed
    _open_in_peft(bundle, "dusk", first)


def _open_in_peft(bundle, name, adapter):
    """PEFT's own reading of the entry, layer by layer, is ours."""
    pytest.importorskip("peft", reason="needs peft: scripts/setup --dev")
    from semla_ros.prepare.bundler.clip import mend_torchvision

    mend_torchvision()
    from peft import PeftModel

    opened = PeftModel.from_pretrained(trained_network(bundle).model, str(bundle.library / name))
    modules = dict(opened.base_model.model.named_modules())
    for layer, ours in adapter.layers.items():
        theirs = modules[layer].get_delta_weight("default").detach().numpy()
        np.testing.assert_allclose(
            theirs, ours.scaling * ours.lora_b @ ours.lora_a, atol=1e-6, err_msg=layer
        )


def test_official_habits_are_in_the_file(bundle, request_of, recipe):
    how = replace(request_of().how, recipe=replace(recipe, official=OFFICIAL, steps=2))
    told = []
    done = train_adapter(request_of(how=how), told.append)
    whole = read_whole_adapter(done.folder)
    dead = [n for n, layer in whole.layers.items() if not layer.lora_b.any()]
    assert dead
    assert all(n.endswith(("q_proj", "k_proj", "v_proj")) for n in dead)
    assert any(DEAD_QKV in line for line in told)
    assert verify_library(bundle.root).passed


def test_a_base_becomes_a_bundle_of_its_own(bundle, request_of, recipe, tmp_path):
    asked = request_of()
    out = tmp_path / "mine"
    how = replace(asked.how, recipe=replace(recipe, learning_rate=1e-3))
    done = train_base(BaseRequest(bundle.root, out, asked.data, how), str)
    made = open_bundle(out)
    assert made.manifest.base_model != bundle.manifest.base_model
    assert made.manifest.navigator == bundle.manifest.navigator
    assert made.manifest.layers == bundle.manifest.layers
    assert not any(made.library.iterdir())
    assert done.after.frames == 3
    on_it = train_adapter(replace(asked, bundle=out), str)
    assert on_it.adapter.base_model == made.manifest.base_model
    with pytest.raises(Exception, match="exists already"):
        train_base(BaseRequest(bundle.root, out, asked.data, how), str)


def test_adapters_of_attention_are_trained_and_act(bundle, request_of, recipe, tmp_path):
    opened = open_attention(bundle, tmp_path / "opened", library=False)
    attention = replace(recipe, layers=("*.attn.?_proj", "*.attn.out_proj"))
    how = replace(request_of().how, recipe=attention)
    told = []
    done = train_adapter(request_of(bundle=opened.root, how=how), told.append)
    layers = done.adapter.layers
    kinds = {name.rpartition(".")[2] for name in layers}
    assert kinds == {"q_proj", "k_proj", "v_proj", "out_proj"}
    assert all(layer.lora_b.any() for layer in layers.values())
    base, own = (done.judgement.counts[what] for what in ("base", "adapter"))
    assert not np.array_equal(base, own)
    assert _library(open_bundle(opened.root)).problems == {}
    assert verify_library(opened.root).passed
    assert f"{len(layers)} layers" in "\n".join(told)
