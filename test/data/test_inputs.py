from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from semla_ros.core.errors import BagError, EvaluationError
from semla_ros.data.inputs import InputOptions, open_input


def _image(path: Path, value: int = 0, size: tuple[int, int] = (4, 6)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((*size, 3), value, np.uint8))
    return path


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    for i in (10, 9, 1):
        _image(tmp_path / f"{i}.png", i)
    (tmp_path / "2.jpg").write_bytes(b"no image")
    shots = list(open_input(tmp_path, InputOptions(fps=4)).read(on_note=print))
    assert [s.name for s in shots] == ["1", "2", "9", "10"]
    assert [s.stamp_ns for s in shots] == [0, 250_000_000, 500_000_000, 750_000_000]
    assert shots[1].frame is None
    assert "2.jpg" in shots[1].reason
    assert [s.frame.rgb[0, 0, 0] for s in shots if s.frame] == [1, 9, 10]


def test_names_that_are_stamps_are_the_time(tmp_path: Path) -> None:
    for stamp in (1_700_000_000_000_000_000, 1_700_000_000_040_000_000):
        _image(tmp_path / "sub" / f"{stamp}.jpg")
    shots = list(open_input(tmp_path, InputOptions()).read(on_note=print))
    assert [s.stamp_ns for s in shots] == [1_700_000_000_000_000_000, 1_700_000_000_040_000_000]


def test_images_may_differ_in_size(tmp_path: Path) -> None:
    _image(tmp_path / "1.png", size=(4, 6))
    _image(tmp_path / "2.png", size=(8, 9))
    shots = list(open_input(tmp_path, InputOptions(max_pixels=50)).read(on_note=print))
    assert shots[0].frame is not None
    assert shots[1].frame is None
    assert "at most 50 pixels" in shots[1].reason


def test_the_camera_of_a_recording_is_not_its_labels(drive) -> None:
    with pytest.raises(BagError, match="2 image topics"):
        open_input(drive.bag, InputOptions())
    source = open_input(drive.bag, InputOptions(except_topic="truth"))
    assert (source.topic, source.count, source.files) == ("/camera", drive.frames, (drive.bag,))
    kept = list(source.read(on_note=print, keep=lambda i: i % 7 == 3))
    assert [s.index for s in kept] == [3, 10, 17, 24]
    whole = list(source.read(on_note=print))
    assert np.array_equal(kept[1].frame.rgb, whole[10].frame.rgb)


def test_a_video_is_its_frames(tmp_path: Path) -> None:
    path = tmp_path / "drive.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5.0, (32, 16))
    if not writer.isOpened():
        pytest.skip("OpenCV cannot write AVI here")
    for value in (0, 100, 200):
        writer.write(np.full((16, 32, 3), value, np.uint8))
    writer.release()
    source = open_input(path, InputOptions())
    shots = list(source.read(on_note=print))
    assert source.count == len(shots) == 3
    assert [s.name for s in shots] == ["000000", "000001", "000002"]
    assert [s.stamp_ns for s in shots] == [0, 200_000_000, 400_000_000]
    means = [float(s.frame.rgb.mean()) for s in shots]
    assert means == pytest.approx([0, 100, 200], abs=3)
    one = list(source.read(on_note=print, keep=lambda i: i == 1))
    assert np.array_equal(one[0].frame.rgb, shots[1].frame.rgb)


def test_what_is_no_input_says_what_is_expected(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "broken.mp4").write_bytes(b"x" * 100)
    for name, message in (
        ("none", "found nothing"),
        ("empty", "expected a recording or images"),
        ("notes.txt", "a video .* or a folder"),
        ("broken.mp4", "damaged, or a codec"),
    ):
        with pytest.raises(EvaluationError, match=message):
            open_input(tmp_path / name, InputOptions())
    with pytest.raises(EvaluationError, match="frames per second"):
        InputOptions(fps=0)


@pytest.mark.parametrize(("dtype", "bits", "told"), [("u2", 16, 1), ("u1", 16, 0), ("u2", 12, 0)])
def test_a_folder_of_twelve_bits_in_sixteen_is_told_once(
    tmp_path: Path, dtype: str, bits: int, told: int
) -> None:
    for name in "01":
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((4, 6, 3), 15, dtype) << (told * 8))
    notes: list[str] = []
    list(open_input(tmp_path, InputOptions(significant_bits=bits)).read(on_note=notes.append))
    assert len(notes) == told
    assert all("0.png" in note and "significant_bits to 12" in note for note in notes)
