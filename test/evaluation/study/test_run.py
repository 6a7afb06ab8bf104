from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from semla_ros.bundle import open_bundle
from semla_ros.core.errors import EvaluationError, SemlaError
from semla_ros.data.tasks import Task, tasks_of
from semla_ros.evaluation.study import run as running
from semla_ros.evaluation.study import tasks as work
from semla_ros.evaluation.study.run import StudyOutcome, StudyRequest, run_study
from semla_ros.evaluation.study.session import StudySettings, evaluated_sha256
from semla_ros.evaluation.study.store import FRAMES, RESULTS, frames_table, load_study
from semla_ros.evaluation.study.study import Study

from .conftest import SETTINGS

STUDY_FILES = (RESULTS, FRAMES, "frames.csv")


@pytest.fixture
def request_for(drive, bundle: Path, tmp_path: Path):
    """Return a function that makes a request over the drive as a recording and as a folder."""

    def made(out: str = "out", **changes: object) -> StudyRequest:
        tasks = tasks_of(
            [f"bag={drive.bag}", f"folder={drive.images}"],
            labels=[f"folder={drive.labels}", "bag=/truth"],
            domains=drive.domains,
        )
        settings = StudySettings(bundle=bundle, changes=SETTINGS, fps=5.0)
        return replace(StudyRequest(tasks, tmp_path / out, settings), **changes)

    return made


def _bytes(outcome: StudyOutcome) -> list[bytes]:
    folder = outcome.files[0].parent
    return [(folder / name).read_bytes() for name in STUDY_FILES]


def test_a_study_is_saved_and_loaded(request_for) -> None:
    outcome = run_study(request_for())
    study = load_study(outcome.files[0].parent)
    assert [r.name for r in study.recordings] == ["bag", "folder"]
    assert study.frames == 60
    assert study.complete
    assert study.info.adapters == ("fog", "night", "rain")
    assert study.info.parameters["ema_time_s"] == 0.2
    assert study.info.parameters["top_k"] == 5
    assert [f.name for f in outcome.files] == [FRAMES, RESULTS, "frames.csv", "timings.json"]
    timings = json.loads(outcome.files[-1].read_text())
    assert set(timings["recordings"]) == {"bag", "folder"}
    assert timings["recordings"]["bag"]["frames"] == 30


def test_two_runs_are_equal_bytes(request_for) -> None:
    assert _bytes(run_study(request_for("one"))) == _bytes(run_study(request_for("two")))


def test_processes_give_the_same_bytes(request_for) -> None:
    here = run_study(request_for("here"))
    assert _bytes(here) == _bytes(run_study(request_for("processes", jobs=2)))


def test_a_cluster_gives_the_same_bytes(request_for, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="needs ray: pip install -e .[cluster]")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    here = run_study(request_for("here"))
    assert _bytes(here) == _bytes(run_study(request_for("cluster", ray="local", jobs=2)))


def test_what_is_finished_is_not_done_again(request_for, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run_study(request_for())
    assert first.reused == ()

    def never(*_: object, **__: object) -> None:
        raise AssertionError("nothing is left to do")

    monkeypatch.setattr(running, "run_tasks", never)
    second = run_study(request_for())
    assert second.reused == ("bag", "folder")
    assert _bytes(first) == _bytes(second)
    other = request_for(settings=replace(request_for().settings, leave_out="fog"))
    for request in (request_for(fresh=True), other):
        with pytest.raises(AssertionError, match="nothing is left"):
            run_study(request)


def test_means_may_leave_out_domains_without_doing_anything_again(request_for) -> None:
    run_study(request_for())
    settings = replace(request_for().settings, excluded=("fog",))
    outcome = run_study(request_for(settings=settings))
    assert outcome.reused == ("bag", "folder")
    assert outcome.study.info.excluded == ("fog",)


def test_a_recording_that_fails_is_named_and_the_rest_kept(request_for, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mcap"
    broken.write_bytes(b"not a recording")
    good = request_for()
    request = replace(good, tasks=(*good.tasks, Task(broken, "broken", "fog")))
    outcome = run_study(request)
    assert list(outcome.failed) == ["broken"]
    assert [r.name for r in outcome.study.recordings] == ["bag", "folder"]
    assert any("'broken' is missing" in note for note in outcome.study.notes)
    with pytest.raises(SemlaError, match="broken"):
        run_study(replace(good, tasks=request.tasks[-1:]))


def test_a_failed_shard_is_tried_once_more(request_for, monkeypatch: pytest.MonkeyPatch) -> None:
    original, calls = work.evaluate, []

    def flaky(session, sequence, **options):
        calls.append(sequence.name)
        if calls.count(sequence.name) == 1:
            raise EvaluationError("the network drive hiccups")
        return original(session, sequence, **options)

    monkeypatch.setattr(work, "evaluate", flaky)
    outcome = run_study(request_for())
    assert not outcome.failed
    assert sorted(calls) == ["bag", "bag", "folder", "folder"]


def test_an_interrupted_run_keeps_what_is_done_and_goes_on(
    request_for, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = work.evaluate

    def stopping(session, sequence, **options):
        if sequence.name == "folder":
            raise KeyboardInterrupt
        return original(session, sequence, **options)

    with monkeypatch.context() as patched:
        patched.setattr(work, "evaluate", stopping)
        outcome = run_study(request_for())
    assert outcome.interrupted
    assert [r.name for r in outcome.study.recordings] == ["bag"]
    assert any("1 of 2 recordings are missing: interrupted" in n for n in outcome.study.notes)
    again = run_study(request_for())
    assert again.reused == ("bag",)
    assert _bytes(again) == _bytes(run_study(request_for("fresh")))


def test_a_full_disk_keeps_what_is_written(request_for, monkeypatch: pytest.MonkeyPatch) -> None:
    original = running.write_shard

    def full(folder: Path, study: Study, timings: object) -> None:
        if study.recordings[0].name == "folder":
            raise EvaluationError("cannot write 'x': No space left on device")
        original(folder, study, timings)

    monkeypatch.setattr(running, "write_shard", full)
    outcome = run_study(request_for())
    assert [r.name for r in outcome.study.recordings] == ["bag"]
    assert any("stopped: cannot write 'x': No space left" in n for n in outcome.study.notes)


def test_the_table_has_a_line_for_each_frame_and_strategy(request_for) -> None:
    study = run_study(request_for()).study
    lines = frames_table(study).splitlines()
    assert lines[0].startswith("recording,frame,stamp_ns,domain,strategy,miou")
    assert lines[0].endswith("swapped,fog,night,rain,base")
    assert len(lines) == 1 + 60 * 5
    assert {len(line.split(",")) for line in lines} == {14}


def test_calibrating_a_bundle_leaves_its_identity(bundle: Path) -> None:
    opened = open_bundle(bundle)
    defaults = replace(opened.manifest.defaults, support_low=0.77)
    other = replace(opened, manifest=replace(opened.manifest, defaults=defaults))
    assert evaluated_sha256(opened) == evaluated_sha256(other)
    renamed = replace(opened.manifest.vocabulary, names=("a", "b", "c", "d"))
    other = replace(opened, manifest=replace(opened.manifest, vocabulary=renamed))
    assert evaluated_sha256(opened) != evaluated_sha256(other)


def test_inputs_get_names_domains_and_labels(tmp_path: Path) -> None:
    (tmp_path / "a=b").mkdir()
    made = tasks_of(
        ["fog=bags/1.mcap", "fog=bags/2.mcap", str(tmp_path / "a=b"), "x/rain"],
        labels=["fog=/truth", "labels"],
    )
    assert [(t.name, t.domain, t.labels) for t in made] == [
        ("fog", "fog", "/truth"),
        ("fog-2", "fog", "/truth"),
        ("a=b", "a=b", "labels"),
        ("rain", "rain", "labels"),
    ]
    with pytest.raises(EvaluationError, match="for inputs that there are"):
        tasks_of(["fog=x"], labels=["snow=/truth"])
    with pytest.raises(EvaluationError, match="at least one input"):
        tasks_of([])
    assert not np.any([t.domains for t in made])


def test_each_input_of_a_name_gets_its_own_labels(tmp_path: Path) -> None:
    inputs = ["fog=a", "night=n", "fog=b"]
    made = tasks_of(inputs, labels=["fog=a_lab", "fog=b_lab", "night=n_lab"])
    assert [t.labels for t in made] == ["a_lab", "n_lab", "b_lab"]
    with pytest.raises(EvaluationError, match=r"fog=… once, or for .* \(2\), got .*'c'"):
        tasks_of(inputs, labels=["fog=a", "fog=b", "fog=c"])
    with pytest.raises(EvaluationError, match=r"night=… once, .* \(1\), got"):
        tasks_of(inputs, labels=["night=a", "night=b"])


def test_a_bundle_without_adapters_is_evaluated(request_for, bundle: Path, tmp_path: Path) -> None:
    """What `semla train base` writes; to an empty library everything is unknown."""
    base = tmp_path / "base"
    shutil.copytree(bundle, base, ignore=shutil.ignore_patterns("library"))
    (base / "library").mkdir()
    request = request_for()
    outcome = run_study(replace(request, settings=replace(request.settings, bundle=base)))
    study = load_study(outcome.files[0].parent)
    assert study.info.adapters == ()
    levels = {level for r in study.recordings for level in r.levels}
    assert levels <= {"OUT_OF_LIBRARY", ""}, "nothing is OK"
    assert "OUT_OF_LIBRARY" in levels
