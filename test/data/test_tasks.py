from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from semla_ros.core.errors import EvaluationError
from semla_ros.data.inputs import InputFrame
from semla_ros.data.labels.label_map import read_label_map
from semla_ros.data.tasks import ReadSettings, Task, sequence_of, tasks_of

CLASSES = ("road", "sky")


def _images(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / name), np.zeros((4, 6), np.uint8))
    return root


def _read(task: Task, settings: ReadSettings | None = None) -> tuple[list[InputFrame], list[str]]:
    """Return the frames, and the notes."""
    notes: list[str] = []
    source = sequence_of(task, settings or ReadSettings(), CLASSES)
    return [f for block in source.blocks(on_note=notes.append) for f, _ in block], notes


def _task(path: Path, labels: Path) -> Task:
    (task,) = tasks_of([str(path)], labels=[str(labels)])
    return task


def test_two_cameras_with_one_folder_of_labels_are_refused(tmp_path: Path) -> None:
    _images(tmp_path, *(f"images/cam{i}/000001.png" for i in range(2)), "labels/000001.png")
    with pytest.raises(EvaluationError, match=r"cam0/000001\.png.*cam1/000001\.png.*of its own"):
        _read(_task(tmp_path / "images", tmp_path / "labels"))
    inputs = [str(tmp_path / "images" / f"cam{i}") for i in range(2)]
    for task in tasks_of(inputs, labels=[str(tmp_path / "labels")]):
        assert [f.name for f in _read(task)[0]] == ["000001"]


def test_labels_below_the_images_are_no_frames(tmp_path: Path) -> None:
    _images(tmp_path, "images/1.png", "images/2.png", "gt/1.png", "gt/color/2_color.png")
    task = _task(tmp_path, tmp_path / "images" / ".." / "gt")
    frames, (note,) = _read(task)
    assert [(f.index, f.name) for f in frames] == [(0, "1"), (1, "2")]
    assert note.startswith("left out of the frames: 2 of")
    assert task.open_input(ReadSettings()).count == 2


def test_images_in_the_folder_of_labels_stay_frames(tmp_path: Path) -> None:
    _images(tmp_path, "a_leftImg8bit.png", "a_gtFine_labelIds.png", "b.jpg")
    settings = ReadSettings(read_label_map("cityscapes"))
    frames, (note,) = _read(_task(tmp_path, tmp_path), settings)
    assert [f.name for f in frames] == ["a_leftImg8bit", "b"]
    assert note.startswith("left out of the frames: 1 of")


def test_labels_alone_are_no_input(tmp_path: Path) -> None:
    _images(tmp_path, "1.png", "2.png")
    with pytest.raises(EvaluationError, match=r"got 2 of the labels .* give the folder of the im"):
        _read(_task(tmp_path, tmp_path))


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("name,domain\n1.png,fog\n9.png,fog\n", False),
        ("name,domain\nframe1.png,fog\n", True),
        ("stamp_ns,domain\n100000000,fog\n", False),
        ("stamp_ns,domain\n200000000,fog\n", True),
        ("recording,name,domain\nother,1,fog\n", True),
    ],
)
def test_a_table_that_knows_no_frame_is_told(tmp_path: Path, table: str, *, told: bool) -> None:
    drive, file = _images(tmp_path / "drive", "1.png", "2.png"), tmp_path / "domains.csv"
    file.write_text(table)
    (task,) = tasks_of([str(drive)], domains=file)
    _, notes = _read(task)
    assert len(notes) == told
    assert all("no line of 'domains.csv' is for a frame of 'drive'" in note for note in notes)
