"""What is played: from a folder, from a recording, raw and compressed."""

import cv2
import numpy as np
import pytest

from semla_ros.bench.frames import film, write_camera
from semla_ros.core.errors import EvaluationError, SemlaError
from semla_ros.data.bags.reader import read_frames


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    where = tmp_path / "images"
    where.mkdir()
    for number in range(3):
        image = np.kron(rng.integers(0, 256, (6, 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
        cv2.imwrite(str(where / f"{number}.png"), image)
    return where


def test_a_folder_and_its_recording_are_the_same_film(folder, tmp_path):
    pictures = film(folder)
    assert len(pictures.frames) == 3
    write_camera(pictures.frames, tmp_path / "camera.mcap", compressed=False)
    again = film(tmp_path / "camera.mcap")
    assert again.sha256 == pictures.sha256
    for one, other in zip(pictures.frames, again.frames, strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_order_is_another_film(folder):
    before = film(folder).sha256
    (folder / "0.png").rename(folder / "9.png")
    assert film(folder).sha256 != before


def test_a_compressed_camera_is_nearly_the_same(folder, tmp_path):
    pictures = film(folder)
    write_camera(pictures.frames, tmp_path / "camera.mcap", compressed=True)
    frames = [frame.rgb for frame in read_frames(tmp_path / "camera.mcap")]
    assert len(frames) == 3
    difference = np.abs(frames[0].astype(int) - pictures.frames[0].astype(int)).mean()
    assert 0 < difference < 20


def test_what_holds_no_image_is_refused(folder, tmp_path):
    (folder / "0.png").write_bytes(b"no image")
    with pytest.raises(EvaluationError, match=r"0\.png"):
        film(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SemlaError):
        film(tmp_path / "empty")
