"""Frames out of recordings: storages, topics, stamps, damage."""

import math
import shutil

import cv2
import numpy as np
import pytest
from recordings import STAMP, picture, ros2_message, write_camera, write_odd_stamps, write_storage
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from semla_ros.core.errors import BagError
from semla_ros.core.types import Frame
from semla_ros.data.bags.messages import COMPRESSED_IMAGE, IMAGE, image_fields, jpeg_fields
from semla_ros.data.bags.reader import SkippedFrame, choose_topic, image_topics, read_frames
from semla_ros.data.bags.writer import BagWriter


@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_folder_and_single_file_give_the_same_frames(tmp_path, plugin):
    folder = write_storage(tmp_path / "bag", plugin)
    file = next(f for f in folder.iterdir() if f.suffix in (".mcap", ".db3"))
    for source in (folder, file):
        frames = list(read_frames(source))
        assert [f.stamp_ns for f in frames] == [STAMP, STAMP + 1, STAMP + 2]
        for i, frame in enumerate(frames):
            np.testing.assert_array_equal(frame.rgb, picture(i))
            assert frame.frame_id == "optical"


def test_ros1_bag(tmp_path):
    store = get_typestore(Stores.ROS1_NOETIC)
    path = tmp_path / "old.bag"
    image = picture(3)
    with Ros1Writer(path) as bag:
        connection = bag.add_connection("/camera/image_raw", IMAGE, typestore=store)
        header = store.types["std_msgs/msg/Header"](
            7, store.types["builtin_interfaces/msg/Time"](12, 34), "optical"
        )
        message = store.types[IMAGE](header, 24, 32, "rgb8", 0, 96, image.reshape(-1))
        bag.write(connection, STAMP, store.serialize_ros1(message, IMAGE))
    (frame,) = read_frames(path)
    assert (frame.stamp_ns, frame.frame_id) == (12_000_000_034, "optical")
    np.testing.assert_array_equal(frame.rgb, image)


def test_stamp_is_the_header_s_not_the_recording_s(tmp_path):
    frames = list(read_frames(write_camera(tmp_path / "a.mcap", 2)))
    assert [f.stamp_ns for f in frames] == [STAMP, STAMP + 40_000_000]


def test_a_stamp_that_is_no_time_skips_its_frame(tmp_path):
    items = list(read_frames(write_odd_stamps(tmp_path / "a.mcap")))
    assert [isinstance(i, Frame) for i in items] == [True, False, True, False, True]
    assert items[1].reason == "its header stamp is no time: -5 s and 40000000 ns"
    assert "4000000000 ns" in items[3].reason
    assert all(i.stamp_ns >= STAMP for i in items)


def test_empty_header_stamp_falls_back_to_the_recording_and_says_so_once(tmp_path):
    path, notes = tmp_path / "a.mcap", []
    with BagWriter(path) as bag:
        for i in (1, 2):
            fields = image_fields(picture(0), stamp_ns=0, frame_id="")
            bag.write("/image", IMAGE, fields, STAMP + i)
    frames = list(read_frames(path, on_note=notes.append))
    assert [f.stamp_ns for f in frames] == [STAMP + 1, STAMP + 2]
    assert len(notes) == 1
    assert "'/image'" in notes[0]
    assert "header stamps" in notes[0]


def test_the_only_filled_topic_is_found(tmp_path):
    path = tmp_path / "a.mcap"
    with BagWriter(path) as bag:
        bag.write("/note", "std_msgs/msg/String", {"data": "hi"}, STAMP)
        fields = jpeg_fields(picture(1), stamp_ns=STAMP, frame_id="c")
        bag.write("/camera/image_raw/compressed", COMPRESSED_IMAGE, fields, STAMP)
    assert choose_topic(path, None).name == "/camera/image_raw/compressed"
    (frame,) = read_frames(path)
    assert frame.rgb.shape == (24, 32, 3)


def test_several_topics_are_listed(tmp_path):
    path = tmp_path / "a.mcap"
    with BagWriter(path) as bag:
        for topic in ("/left", "/right"):
            fields = image_fields(picture(1), stamp_ns=STAMP, frame_id="c")
            bag.write(topic, IMAGE, fields, STAMP)
    assert [t.name for t in image_topics(path)] == ["/left", "/right"]
    with pytest.raises(BagError, match=r"2 image topics.*/left \(1\), /right \(1\)"):
        list(read_frames(path))
    assert len(list(read_frames(path, topic="right"))) == 1
    with pytest.raises(BagError, match=r"no image topic '/top': image topics are /left"):
        list(read_frames(path, topic="/top"))


def test_a_part_without_the_topic_adds_nothing(tmp_path):
    folder = tmp_path / "split"
    folder.mkdir()
    good = image_fields(picture(1), stamp_ns=STAMP, frame_id="c")
    with BagWriter(folder / "split_0.mcap") as bag:
        bag.write("/image", IMAGE, good, STAMP)
    with BagWriter(folder / "split_1.mcap") as bag:
        bag.write("/note", "std_msgs/msg/String", {"data": "hi"}, STAMP + 1)
        bag.write("/other", IMAGE, good, STAMP + 2)
    (frame,) = read_frames(folder, topic="/image", on_note=lambda _: None)
    assert isinstance(frame, Frame)


def test_a_topic_without_messages_is_no_choice(tmp_path):
    store = get_typestore(Stores.LATEST)
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as bag:
        bag.add_connection("/left", IMAGE, typestore=store)
        right = bag.add_connection("/right", IMAGE, typestore=store)
        fields = image_fields(picture(1), stamp_ns=STAMP, frame_id="c")
        data = store.serialize_cdr(ros2_message(store, fields), IMAGE)
        bag.write(right, STAMP, data)
    assert choose_topic(tmp_path / "bag", None).name == "/right"
    with pytest.raises(BagError, match=r"has no images.*/left \(0\), /right \(1\)"):
        choose_topic(tmp_path / "bag", None, but=("right",))
    assert list(read_frames(tmp_path / "bag", topic="left")) == []


def test_no_image_topic(tmp_path):
    path = tmp_path / "a.mcap"
    with BagWriter(path) as bag:
        bag.write("/note", "std_msgs/msg/String", {"data": "hi"}, STAMP)
    with pytest.raises(BagError, match="has no images"):
        list(read_frames(path))


def test_a_malformed_message_is_skipped_with_its_reason(tmp_path):
    path = tmp_path / "a.mcap"
    with BagWriter(path) as bag:
        good = image_fields(picture(1), stamp_ns=STAMP, frame_id="c")
        bag.write("/image", IMAGE, good, STAMP)
        bag.write("/image", IMAGE, {**good, "data": good["data"][:-9]}, STAMP)
        bag.write("/image", IMAGE, {**good, "encoding": "klingon8"}, STAMP)
        bag.write_raw("/image", IMAGE, b"\x00\x01\x00\x00 too short", STAMP + 4)
        bag.write_raw("/image", IMAGE, b"", STAMP + 5)
        bag.write("/image", IMAGE, good, STAMP)
    items = sorted(read_frames(path), key=lambda i: i.stamp_ns)
    assert sum(isinstance(i, Frame) for i in items) == 2
    skipped = [i for i in items if isinstance(i, SkippedFrame)]
    assert len(skipped) == 4
    assert any("klingon8" in s.reason for s in skipped)
    assert [s.stamp_ns for s in skipped[-2:]] == [STAMP + 4, STAMP + 5]


def test_too_large_images_are_skipped(tmp_path):
    path = write_camera(tmp_path / "a.mcap", 1)
    (item,) = read_frames(path, max_pixels=24 * 32 - 1)
    assert isinstance(item, SkippedFrame)
    assert "max_pixels" in item.reason


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8, 0.98])
def test_a_cut_mcap_is_read_as_far_as_it_goes(tmp_path, share):
    path = write_camera(tmp_path / "whole.mcap", 24, height=240, width=320)
    whole = list(read_frames(path))
    data, notes = path.read_bytes(), []
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(data[: int(len(data) * share)])
    frames = list(read_frames(cut, on_note=notes.append))
    assert 24 * share - 6 <= len(frames) <= 24
    assert any("cut off" in n for n in notes)
    for got, expected in zip(frames, whole, strict=False):
        np.testing.assert_array_equal(got.rgb, expected.rgb)


def test_uncompressed_chunks_keep_every_whole_message(tmp_path):
    folder = write_storage(tmp_path / "bag", StoragePlugin.MCAP, count=40)
    data = (folder / "bag.mcap").read_bytes()
    first = data.index(picture(0).tobytes())
    last = data.index(picture(29).tobytes())
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(data[: last + 100])
    assert first < last
    assert len(list(read_frames(cut, on_note=lambda _: None))) == 29


def test_a_file_cut_inside_its_first_record_is_refused(tmp_path):
    path = write_camera(tmp_path / "whole.mcap")
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(path.read_bytes()[:20])
    with pytest.raises(BagError, match="cut before its first message"):
        image_topics(cut, on_note=lambda _: None)


def test_a_folder_without_metadata_is_read_by_file_names(tmp_path):
    folder = tmp_path / "split"
    folder.mkdir()
    for part in (10, 9):
        with BagWriter(folder / f"split_{part}.mcap") as bag:
            fields = image_fields(picture(part), stamp_ns=part, frame_id="c")
            bag.write("/image", IMAGE, fields, part)
    notes = []
    assert [f.stamp_ns for f in read_frames(folder, on_note=notes.append)] == [9, 10]
    assert "no metadata.yaml" in notes[0]


@pytest.mark.parametrize("share", [0.3, 0.7])
@pytest.mark.parametrize("damage", ["cut", "overwritten"])
def test_a_damaged_database_is_read_as_far_as_it_goes(tmp_path, damage, share):
    folder = write_storage(tmp_path / "bag", StoragePlugin.SQLITE3, count=100)
    file = next(folder.glob("*.db3"))
    data = file.read_bytes()
    at = int(len(data) * share) // 4096 * 4096
    rest = b"" if damage == "cut" else b"\xff" * (len(data) - at)
    file.write_bytes(data[:at] + rest)
    notes = []
    frames = [f for f in read_frames(folder, on_note=notes.append) if isinstance(f, Frame)]
    assert 100 * share - 12 <= len(frames) < 100
    assert any("damaged" in n for n in notes)
    for i, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.rgb, picture(i))


@pytest.mark.parametrize("content", [b"", b"no bag at all", b"\x89MCAP0\r\n"])
@pytest.mark.parametrize("suffix", [".mcap", ".db3", ".bag"])
def test_nonsense_files_are_refused_by_name(tmp_path, content, suffix):
    path = tmp_path / f"nonsense{suffix}"
    path.write_bytes(content)
    with pytest.raises(BagError, match="nonsense"):
        image_topics(path, on_note=lambda _: None)


def test_wrong_places_are_refused(tmp_path):
    with pytest.raises(BagError, match="found nothing"):
        image_topics(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BagError, match="holds no recording"):
        image_topics(tmp_path / "empty")
    (tmp_path / "film.avi").write_bytes(b"RIFF")
    with pytest.raises(BagError, match="ending in"):
        image_topics(tmp_path / "film.avi")


def test_highway_bag(shared_data, tmp_path):
    bag = shared_data("highway_bag")
    assert [(t.name, t.count) for t in image_topics(bag)] == [
        ("/camera/image_raw/compressed", 221)
    ]
    frames = list(read_frames(bag))
    assert len(frames) == 221
    assert {f.rgb.shape for f in frames} == {(360, 640, 3)}
    assert {f.frame_id for f in frames} == {"camera_optical"}
    steps = np.diff([f.stamp_ns for f in frames])
    assert set(steps.tolist()) == {40_000_000}
    cut = tmp_path / "cut"
    shutil.copytree(bag, cut)
    (file,) = cut.glob("*.mcap")
    file.chmod(0o644)
    cut.chmod(0o755)
    file.write_bytes(file.read_bytes()[:3_000_000])
    assert 80 < len(list(read_frames(cut, on_note=lambda _: None))) < 221


@pytest.mark.parametrize("kind", ["raw", "compressed"])
def test_every_spot_topic(shared_data, kind):
    bag = shared_data("spot_bags") / kind
    topics = image_topics(bag)
    assert len(topics) == 4
    for topic in topics:
        (frame,) = read_frames(bag, topic=topic.name)
        assert isinstance(frame, Frame), frame
        assert frame.stamp_ns > 1_600_000_000_000_000_000
        if "depth" not in topic.name:
            assert frame.rgb.std() > 10


def test_raw_and_compressed_spot_images_agree(shared_data):
    def by_camera(kind):
        bag = shared_data("spot_bags") / kind
        return {
            t.name.removesuffix("/compressed"): next(iter(read_frames(bag, topic=t.name)))
            for t in image_topics(bag)
        }

    raw, compressed = by_camera("raw"), by_camera("compressed")
    assert raw.keys() == compressed.keys()
    for name, frame in raw.items():
        assert frame.stamp_ns == compressed[name].stamp_ns
        error = cv2.norm(frame.rgb, compressed[name].rgb) / math.sqrt(frame.rgb.size)
        assert error < 9.0, (name, error)


def test_messages_that_are_not_kept_are_passed_over(tmp_path):
    bag = write_camera(tmp_path / "drive.mcap")
    asked = []

    def keep(number):
        asked.append(number)
        return number in (1, 4)

    frames = list(read_frames(bag, keep=keep))
    assert [f.stamp_ns for f in frames] == [STAMP + 40_000_000, STAMP + 160_000_000]
    assert asked == list(range(6))
