from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from semla_ros.errors import EngineUnavailableError, EvaluationError
from semla_ros.evaluation.study.cluster import LOCAL, run_ray
from semla_ros.evaluation.study.inputs import Input
from semla_ros.evaluation.study.session import StudySettings
from semla_ros.evaluation.study.tasks import ShardFiles, Task

from .conftest import SETTINGS


@dataclass(frozen=True)
class DeadlyTask(Task):
    """Takes the first worker that carries it out down with it."""

    tried: Path = Path()

    def open_input(self, settings: StudySettings) -> Input:
        if not self.tried.exists():
            self.tried.touch()
            os._exit(1)
        return Task.open_input(self, settings)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="needs ray: pip install -e .[cluster]")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


def test_a_worker_that_dies_is_replaced_and_a_wrong_bundle_is_told_once(
    drive, bundle: Path, tmp_path: Path
) -> None:
    settings = StudySettings(bundle=bundle, changes=SETTINGS, strategies=("zero-shot",))
    tasks = [
        DeadlyTask(drive.images, "deadly", "fog", tried=tmp_path / "tried"),
        Task(drive.images, "good", "fog"),
        Task(tmp_path / "none", "missing", "fog"),
    ]
    done: dict[str, ShardFiles] = {}
    run_ray(
        tasks,
        settings,
        address=LOCAL,
        jobs=2,
        on_done=lambda task, shard: done.update({task.name: shard}),
    )
    assert (tmp_path / "tried").exists()
    assert [done[name].error for name in ("deadly", "good")] == ["", ""]
    assert done["deadly"].files.keys() == done["good"].files.keys() != set()
    assert "found nothing" in done["missing"].error
    with pytest.raises(EvaluationError, match="expected a model bundle"):
        run_ray(
            tasks,
            StudySettings(bundle=tmp_path, changes=SETTINGS),
            address=LOCAL,
            jobs=1,
            on_done=lambda *_: None,
        )


def test_a_cluster_that_is_not_there_says_how_to_start_one() -> None:
    with pytest.raises(EngineUnavailableError, match="ray start --head"):
        run_ray([], StudySettings(), address="auto", jobs=0, on_done=lambda *_: None)
