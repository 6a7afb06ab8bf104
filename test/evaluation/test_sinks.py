"""The recording of predictions and the overlay video."""

import contextlib
import os
import resource

import cv2
import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from semla_ros.core.errors import EvaluationError
from semla_ros.data.bags.writer import BagWriter
from semla_ros.evaluation.sinks import FileSink, PredictionSink, VideoSink


def test_predictions_carry_the_frames_stamps_and_labels(support, tmp_path):
    path = tmp_path / "predictions.mcap"
    views = support.views(4)
    with BagWriter(path) as bag:
        sink = PredictionSink(bag)
        for view in views:
            sink.add(view)
    topics = {}
    with AnyReader([path]) as reader:
        for connection, stamp, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            topics.setdefault(connection.topic, []).append((stamp, message))
    counts = {topic: len(messages) for topic, messages in topics.items()}
    assert counts == {
        "/segmenter/mask": 4,
        "/segmenter/mask_color": 4,
        "/segmenter/legend": 1,
        "/segmenter/overlay/compressed": 4,
        "/segmenter/support": 3,
        "/segmenter/mix": 2,
        "/segmenter/swap": 1,
        "/segmenter/label_info": 1,
    }
    for view, (stamp, mask) in zip(views, topics["/segmenter/mask"], strict=True):
        assert stamp == view.frame.stamp_ns
        header = mask.header.stamp
        assert header.sec * 10**9 + header.nanosec == stamp
        labels = mask.data.reshape(mask.height, mask.width)
        np.testing.assert_array_equal(labels, view.result.labels)
    colors = topics["/segmenter/mask_color"]
    for view, (stamp, picture) in zip(views, colors, strict=True):
        assert (stamp, picture.encoding) == (view.frame.stamp_ns, "rgb8")
        rgb = picture.data.reshape(picture.height, picture.width, 3)
        np.testing.assert_array_equal(rgb, view.mask_rgb)
    assert [a.name for a in topics["/segmenter/mix"][1][1].mix.adapters] == ["fog", "rain"]


def test_video_has_every_frame_at_the_recordings_rate(support, tmp_path):
    path = tmp_path / "overlay.mp4"
    with VideoSink(path) as sink:
        for view in support.views(7, height=48, width=65):
            sink.add(view)
    video = cv2.VideoCapture(str(path))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 7
    assert abs(video.get(cv2.CAP_PROP_FPS) - 10.0) < 0.01
    done, image = video.read()
    assert done
    assert image.shape == (48 + 26, 64, 3)
    video.release()
    assert [f.name for f in tmp_path.iterdir()] == ["overlay.mp4"]


def test_video_of_one_frame_and_of_changing_sizes(support, tmp_path):
    with VideoSink(tmp_path / "one.mp4") as sink:
        sink.add(support.views(1)[0])
    with VideoSink(tmp_path / "sizes.mp4") as sink:
        for view in (*support.views(2), *support.views(2, height=60, width=80)):
            sink.add(view)
    for name, count in (("one.mp4", 1), ("sizes.mp4", 4)):
        video = cv2.VideoCapture(str(tmp_path / name))
        assert video.get(cv2.CAP_PROP_FRAME_COUNT) == count
        video.release()


def test_no_frame_no_video(tmp_path):
    with VideoSink(tmp_path / "none.mp4"):
        pass
    assert list(tmp_path.iterdir()) == []


@contextlib.contextmanager
def no_room_beyond(size):
    """Let no file of this process grow beyond `size` bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_video_without_room_does_not_appear(support, tmp_path):
    views = support.views(60, height=240, width=320)
    sink = VideoSink(tmp_path / "overlay.mp4")
    with no_room_beyond(20_000):
        for view in views:
            sink.add(view)
        with pytest.raises(EvaluationError, match=r"overlay\.mp4.*is the disk full"):
            sink.__exit__(None, None, None)
    assert not list(tmp_path.iterdir())


def test_a_file_that_fails_is_told_and_the_rest_goes_on(support, tmp_path, caplog):
    path = tmp_path / "predictions.mcap"
    views = support.views(60, height=480, width=640)
    file = FileSink(lambda stack: PredictionSink(stack.enter_context(BagWriter(path))))
    with no_room_beyond(20_000), file as sink:
        for view in views:
            sink.add(view)
    assert "predictions.mcap" in sink.failure
    assert sink.failure in caplog.text
    assert not path.exists()


def test_a_folder_that_is_no_utf8_holds_a_video(support, tmp_path):
    folder = tmp_path / os.fsdecode(b"d\xe9j")
    folder.mkdir()
    with VideoSink(folder / "overlay.mp4") as sink:
        for view in support.views(3):
            sink.add(view)
    assert [f.name for f in folder.iterdir()] == ["overlay.mp4"]
