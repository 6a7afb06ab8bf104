from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from semla_ros.errors import EvaluationError
from semla_ros.evaluation.study import parallel
from semla_ros.evaluation.study.parallel import run_here, run_processes, threads_each
from semla_ros.evaluation.study.session import StudySettings
from semla_ros.evaluation.study.tasks import ShardFiles, Task

from .conftest import SETTINGS


def test_cores_are_shared_unless_the_user_says_otherwise() -> None:
    cores = os.cpu_count() or 1
    assert threads_each(StudySettings(), cores).config().threads == 1
    assert threads_each(StudySettings(changes={"threads": 3}), 8).config().threads == 3


def test_a_worker_that_is_killed_is_replaced_and_its_task_tried_again(
    drive, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[int] = []
    original = parallel._Pool._start

    def start(pool: parallel._Pool) -> None:
        original(pool)
        child = [*pool._children.values()][-1]
        if not killed:
            killed.append(child.pid)
            os.kill(child.pid, signal.SIGKILL)

    monkeypatch.setattr(parallel._Pool, "_start", start)
    done: dict[str, ShardFiles] = {}
    run_processes(
        [Task(drive.images, "one", "fog"), Task(drive.bag, "two", "fog", "/truth")],
        StudySettings(bundle=bundle, changes=SETTINGS, strategies=("zero-shot",)),
        jobs=2,
        on_done=lambda task, shard: done.update({task.name: shard}),
        on_progress=lambda _: None,
    )
    assert killed
    assert {name: shard.error for name, shard in done.items()} == {"one": "", "two": ""}


def test_workers_that_cannot_open_the_bundle_say_so_once(drive, tmp_path: Path) -> None:
    tasks = [Task(drive.images, name, "fog") for name in ("one", "two")]
    settings = StudySettings(bundle=tmp_path, changes=SETTINGS)
    with pytest.raises(EvaluationError, match=r"expected a model bundle"):
        run_processes(tasks, settings, jobs=2, on_done=lambda *_: None, on_progress=lambda _: None)


def test_a_task_that_fails_twice_is_handed_over_with_its_error(
    bundle: Path, tmp_path: Path
) -> None:
    shards: list[ShardFiles] = []
    run_here(
        [Task(tmp_path / "none", "none", "fog")],
        StudySettings(bundle=bundle, changes=SETTINGS, strategies=("zero-shot",)),
        on_done=lambda _, shard: shards.append(shard),
        on_progress=lambda _: None,
    )
    assert [s.files for s in shards] == [{}]
    assert "found nothing" in shards[0].error


def test_after_ctrl_c_what_the_processes_have_is_taken(drive, bundle: Path) -> None:
    done: list[str] = []

    def interrupt(_masks: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_processes(
            [Task(drive.images, name, "fog") for name in ("one", "two", "three")],
            StudySettings(bundle=bundle, changes=SETTINGS, strategies=("zero-shot",)),
            jobs=2,
            on_done=lambda task, shard: done.append(task.name) if shard.files else None,
            on_progress=interrupt,
        )
    assert sorted(done) == ["one", "two"]
