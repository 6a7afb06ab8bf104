"""Whoever does the work, every task ends in its result or in why there is none."""

from __future__ import annotations

import os
from pathlib import Path

import deadly
import pytest
from deadly import DeadlyTask

from semla_ros.core.errors import EngineUnavailableError, EvaluationError
from semla_ros.data.tasks import Task
from semla_ros.evaluation.study.session import StudySettings
from semla_ros.evaluation.study.tasks import TaskResult
from semla_ros.evaluation.study.workers import run_tasks, threads_each

from .conftest import SETTINGS

WORKERS = [{"jobs": 2}, {"jobs": 2, "ray": "local"}]


@pytest.fixture(params=WORKERS, ids=["processes", "ray"])
def others(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict:
    """How other processes are asked to do the work."""
    if "ray" in request.param:
        ray = pytest.importorskip("ray", reason="needs ray: pip install -e .[cluster]")
        monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        ray.cloudpickle.register_pickle_by_value(deadly)
    return request.param


@pytest.fixture
def settings(bundle: Path) -> StudySettings:
    return StudySettings(bundle=bundle, changes=SETTINGS, strategies=("zero-shot",))


def test_cores_are_shared_unless_the_user_says_otherwise() -> None:
    cores = os.cpu_count() or 1
    assert threads_each(StudySettings(), cores).config().threads == 1
    assert threads_each(StudySettings(changes={"threads": 3}), 8).config().threads == 3


def test_a_worker_that_dies_is_replaced_and_its_task_tried_again(
    drive, settings: StudySettings, tmp_path: Path, others: dict
) -> None:
    tasks = [
        DeadlyTask(drive.images, "deadly", "fog", tried=tmp_path / "tried"),
        Task(drive.images, "good", "fog"),
        Task(tmp_path / "none", "missing", "fog"),
    ]
    done: dict[str, TaskResult] = {}
    run_tasks(tasks, settings, on_done=lambda t, result: done.update({t.name: result}), **others)
    assert (tmp_path / "tried").exists()
    assert [done[name].error for name in ("deadly", "good")] == ["", ""]
    assert all(done[name].study is not None for name in ("deadly", "good"))
    assert "found nothing" in done["missing"].error


def test_workers_that_cannot_open_the_bundle_say_so_once(
    drive, tmp_path: Path, others: dict
) -> None:
    tasks = [Task(drive.images, name, "fog") for name in ("one", "two")]
    settings = StudySettings(bundle=tmp_path, changes=SETTINGS)
    with pytest.raises(EvaluationError, match=r"^expected a model bundle"):
        run_tasks(tasks, settings, on_done=lambda *_: None, **others)


def test_a_task_that_fails_twice_is_handed_over_with_its_error(
    settings: StudySettings, tmp_path: Path
) -> None:
    results: list[TaskResult] = []
    tasks = [Task(tmp_path / "none", "none", "fog")]
    run_tasks(tasks, settings, on_done=lambda _, result: results.append(result))
    assert [r.study for r in results] == [None]
    assert "found nothing" in results[0].error


def test_after_ctrl_c_what_the_processes_have_is_taken(drive, settings: StudySettings) -> None:
    done: list[str] = []
    tasks = [Task(drive.images, name, "fog") for name in ("one", "two", "three")]

    def interrupt(_masks: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_tasks(
            tasks,
            settings,
            on_done=lambda task, result: done.append(task.name) if result.study else None,
            on_progress=interrupt,
            jobs=2,
        )
    assert sorted(done) == ["one", "two"]


def test_a_cluster_that_is_not_there_says_how_to_start_one() -> None:
    pytest.importorskip("ray", reason="needs ray: pip install -e .[cluster]")
    with pytest.raises(EngineUnavailableError, match="ray start --head"):
        run_tasks([], StudySettings(), on_done=lambda *_: None, ray="auto")
