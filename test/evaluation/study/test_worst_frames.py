from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from semla_ros.data.metrics import mean_iou
from semla_ros.data.tasks import tasks_of
from semla_ros.evaluation.report.worst_frames import find_worst, worst_frames
from semla_ros.evaluation.study.run import StudyRequest, run_study
from semla_ros.evaluation.study.session import StudySettings

from .conftest import SETTINGS
from .studies import fake_recording, fake_study


def test_the_worst_frames_are_apart_and_in_order() -> None:
    study = fake_study(fake_recording(domains=("fog-day",) * 60))
    result = study.recordings[0].results["semla"]
    found = find_worst(study, "semla", count=2)
    miou = mean_iou(result.counts)
    assert found[0].row == int(miou.argmin())
    assert found[0].score <= found[1].score
    assert abs(found[0].row - found[1].row) >= 20
    assert len(find_worst(study, "semla", count=100)) <= 3


def test_what_was_not_scored_is_not_shown() -> None:
    recording = fake_recording()
    study = fake_study(replace(recording, scored=np.zeros(recording.frames, np.bool_)))
    assert find_worst(study, "semla") == []


def test_pictures_are_made_of_the_frames_that_were_found(
    drive, bundle: Path, tmp_path: Path
) -> None:
    tasks = tasks_of([str(drive.bag)], labels=["/truth"], domains=drive.domains)
    settings = StudySettings(bundle=bundle, changes=SETTINGS, strategies=("semla-gated",))
    study = run_study(StudyRequest(tasks, tmp_path, settings)).study
    shown = worst_frames(study, tasks, settings, count=3)
    found = find_worst(study, "semla-gated", count=3)
    assert [f.score for f in shown] == [f.score for f in found]
    assert all(len(f.pictures) == 4 for f in shown)
    seconds = (found[0].row * 0.2, study.recordings[0].domains[found[0].row])
    assert shown[0].caption == "drive, {:.1f} s, {}".format(*seconds)
