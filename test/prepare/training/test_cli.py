"""The command: errors are one line, a library names what failed and goes on."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from semla_ros.cli import main
from semla_ros.prepare.training import domains
from semla_ros.prepare.training.domains import LibraryOutcome

QUICK = ("steps=4", "warmup=1", "batch=4", "crop=0", "learning_rate=5e-3", "evaluate_every=2")


def _settings():
    return [part for text in QUICK for part in ("--set", text)]


def _adapter(bundle, frames, *more):
    images, labels = frames
    where = ["--bundle", str(bundle.root), "--data", f"dusk={images}", "--labels", str(labels)]
    how = ["--device", "cpu", "--threads", "1", *_settings()]
    return main(["train", "adapter", *where, *how, *more])


def test_an_adapter_is_trained_by_name(bundle, frames, capsys):
    assert _adapter(bundle, frames, "--init", "pissa", "--compress", "3") == 0
    out = capsys.readouterr().out
    assert "init pissa" in out
    assert "compressed to rank 3" in out
    assert (bundle.library / "dusk" / "adapter_model.safetensors").is_file()


def test_a_table_is_asked_for_the_domain_of_the_data(bundle, frames, tmp_path, capsys):
    table = tmp_path / "domains.csv"
    rows = "".join(f"{i:03d},{'dusk' if i < 9 else 'day'}\n" for i in range(14))
    table.write_text("name,domain\n" + rows)
    for more in (["--name", "other"], ["--name", "dusk", "--data", str(frames[0])]):
        assert _adapter(bundle, frames, "--domains", str(table), "--dry-run", *more) == 0
        assert "9 labelled frames" in capsys.readouterr().out
    two = [f"dusk={frames[0]}", f"day={frames[0]}"]
    assert _adapter(bundle, frames, "--domains", str(table), "--name", "x", "--data", *two) == 2
    assert "expected one NAME= for all of --data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--label-map", "nope"], "expected a label map of"),
        (["--set", "steps"], "expected --set FIELD=VALUE, got 'steps'"),
        (["--name", "a.b"], "expected an adapter name"),
        (["--name", "fog"], "'fog' exists"),
        (["--init", "svd"], "expected init of"),
        (["--set", "layers=*.nothing"], "names none of"),
        (["--init", "rrqr", "--set", "rank=500"], "expected a rank of 1 to"),
        (["--held-out", "/nowhere"], "/nowhere"),
    ],
)
def test_bad_input_is_one_line(bundle, frames, capsys, arguments, message):
    assert _adapter(bundle, frames, *arguments) == 2
    err = capsys.readouterr().err.strip()
    assert err.startswith("semla: error: ")
    assert message in err
    assert "\n" not in err


def test_a_domain_that_fails_is_named_and_the_rest_goes_on(bundle, frames, tmp_path, capsys):
    (tmp_path / "domains.yaml").write_text(
        "domains:\n"
        "  dusk: {data: images, labels: labels}\n"
        "  dawn: {data: [nowhere], labels: labels}\n"
    )
    what = [str(tmp_path / "domains.yaml"), "--bundle", str(bundle.root)]
    code = main(["train", "library", *what, "--jobs", "2", "--device", "cpu", *_settings()])
    out = capsys.readouterr().out
    assert code == 1
    assert "dawn: failed: expected an input at" in out
    assert "dusk: mIoU of 3 held-out frames: base " in out
    assert "dusk: better than the base in" in out
    assert "1 of 2 domains are in the library" in out
    assert (bundle.library / "dusk" / "SHA256SUMS").is_file()
    assert not (bundle.library / "dawn").exists()


def test_a_library_that_is_told_to_end_leaves_no_process(bundle, frames, tmp_path):
    (tmp_path / "domains.yaml").write_text(
        "domains:\n"
        "  dusk: {data: images, labels: labels}\n"
        "  dawn: {data: images, labels: labels}\n"
    )
    what = ["library", str(tmp_path / "domains.yaml"), "--bundle", str(bundle.root)]
    how = ["--device", "cpu", *_settings(), "--set", "steps=100000", "--set", "patience=0"]
    command = [sys.executable, "-m", "semla_ros", "train", *what, *how]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        _until(lambda: (bundle.library / ".dusk.training" / "checkpoint.safetensors").is_file())
        run.send_signal(signal.SIGTERM)
        assert "the last checkpoint is kept" in run.communicate(timeout=120)[1]
        _until(lambda: not _lives(run.pid))
    finally:
        with suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
    assert not (bundle.library / ".dawn.training").exists()


class _Deadly:
    def __reduce__(self):
        return os._exit, (9,)


def test_a_process_that_dies_fails_its_domain_alone(request_of):
    told = []
    doomed = request_of(bundle=_Deadly())
    outcome = domains.train_library([doomed], jobs=1, ray="", say=told.append)
    assert outcome.failed == {"dusk": "its worker died: exit code 9"}


def _until(true):
    ends = time.monotonic() + 300
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.1)


def _lives(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_domains_with_recipes_of_their_own_keep_what_was_set(
    bundle, frames, tmp_path, monkeypatch
):
    (tmp_path / "mine.yaml").write_text("rank: 3\n")
    (tmp_path / "map.yaml").write_text("tables: {ids: {ids: {0: road, 1: car}}}\n")
    (tmp_path / "muses").mkdir()
    (tmp_path / "domains.yaml").write_text(
        "recipe: muses\n"
        "domains:\n"
        "  dusk: {data: images, labels: labels, label_map: map.yaml}\n"
        "  dawn: {data: images, labels: labels, label_map: 'map.yaml:ids', recipe: mine.yaml}\n"
    )
    asked = []

    def kept(requests, **_):
        asked.extend(requests)
        return LibraryOutcome({}, {})

    monkeypatch.setattr(domains, "train_library", kept)
    monkeypatch.chdir(frames[0])
    what = [str(tmp_path / "domains.yaml"), "--bundle", str(bundle.root)]
    assert main(["train", "library", *what, *_settings()]) == 0
    assert [r.how.recipe_name for r in asked] == ["muses", "mine"]
    assert [r.how.recipe.steps for r in asked] == [4, 4]
    assert asked[1].how.recipe.rank == 3
    assert all("ids" in r.data.reading.label_map.tables for r in asked)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("domains: {}", "expected `domains:`"),
        ("domains: {dusk: {labels: x}}", "domain 'dusk': expected `data:`"),
        ("domains: {dusk: {data: x, stepz: 3}}", "got ['stepz']"),
        ("domains: [", "cannot read domains"),
    ],
)
def test_a_file_of_domains_is_held_against_its_form(bundle, tmp_path, capsys, text, message):
    path = tmp_path / "domains.yaml"
    path.write_text(text)
    assert main(["train", "library", str(path), "--bundle", str(bundle.root)]) == 2
    assert message in capsys.readouterr().err
