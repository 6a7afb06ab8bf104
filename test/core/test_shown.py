"""Names that are no UTF-8 can be printed, stored, and given to OpenCV."""

import os
from pathlib import Path

import cv2
import numpy as np
from small_bundle import small_bundle

from semla_ros.core.config import Config
from semla_ros.core.shown import native_path, shown, utf8
from semla_ros.core.types import Frame
from semla_ros.pipeline.assembly import build_pipeline

ODD = os.fsdecode(b"d\xe9j")


def test_odd_names_can_be_shown_and_plain_ones_stay():
    assert shown(Path(f"/x/{ODD}.png")) == "/x/d\\udce9j.png"
    assert utf8(ODD) == b"d\\udce9j"
    for name in ("plain", "Straße 北京", "a\\b"):
        assert shown(name) == name
        assert utf8(name) == name.encode()


def test_opencv_reads_and_writes_files_of_any_name(tmp_path):
    folder = tmp_path / ODD
    folder.mkdir()
    path = folder / f"{ODD}.avi"
    with native_path(path) as name:
        name.encode()
        video = cv2.VideoWriter(name, cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (32, 32))
    for _ in range(3):
        video.write(np.zeros((32, 32, 3), np.uint8))
    video.release()
    assert path.stat().st_size > 100
    with native_path(path) as name:
        again = cv2.VideoCapture(name)
    assert again.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    again.release()


def test_a_plain_name_is_given_as_it_is(tmp_path):
    with native_path(tmp_path / "a.mp4") as name:
        assert name == str(tmp_path / "a.mp4")


def test_a_bundle_under_such_a_name_serves(tmp_path):
    bundle = small_bundle(tmp_path / "made").rename(tmp_path / ODD)
    frame = Frame(10**9, "camera", np.zeros((48, 64, 3), np.uint8))
    config = Config(bundle=str(bundle), engine="onnx", adaptation="inline")
    with build_pipeline(config) as pipeline:
        assert pipeline.step(frame).labels.shape == (48, 64)
