"""Recordings written here, read by rosbags' own reader."""

import math
import subprocess
import sys

import cv2
import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from semla_ros.core.answers import SupportReading, SwapEvent
from semla_ros.core.errors import BagError
from semla_ros.core.types import AdapterMix, DomainEstimate, Vocabulary
from semla_ros.data.bags import messages as m
from semla_ros.data.bags.definitions import SOURCES, message_folder, typestore_with
from semla_ros.data.bags.messages import IMAGE, image_fields
from semla_ros.data.bags.reader import read_frames
from semla_ros.data.bags.writer import BagWriter

STRING = "std_msgs/msg/String"
STAMP = 1_700_000_000_123_456_789
MIX = AdapterMix.from_weights({"fog-day": 0.6, "base": 0.3, "rain-day": 0.1})


def read_all(path):
    with AnyReader([path]) as reader:
        return [
            (c.topic, c.msgtype, stamp, reader.deserialize(data, c.msgtype))
            for c, stamp, data in reader.messages()
        ]


def estimate():
    return DomainEstimate(
        STAMP,
        np.zeros(4, np.float32),
        np.zeros(4, np.float32),
        ("fog-day", "night"),
        np.array([1.5, 2.0]),
        np.array([1.5, 2.0]),
    )


def test_our_messages_come_back_with_every_field(tmp_path):
    path = tmp_path / "out.mcap"
    support = SupportReading(1.5, 1.25, "fog-day", math.nan, "LOW", STAMP - 7)
    swap = SwapEvent(STAMP, AdapterMix.base_only(), MIX, "domain", committed=True, fuse_ms=3.5)
    colors = np.zeros((2, 3), np.uint8)
    at = {"stamp_ns": STAMP, "frame_id": "cam"}
    with BagWriter(path) as bag:
        bag.write("/s", m.SUPPORT_SCORE, m.support_fields(support, MIX, **at), STAMP)
        state = m.mix_state_fields(MIX, estimate(), **at, since_ns=5, hint="fog", hint_share=0.5)
        bag.write("/a", m.MIX_STATE, state, STAMP)
        bag.write("/w", m.ADAPTER_SWAP, m.swap_fields(swap, frame_id="cam"), STAMP)
        info = m.label_info_fields(Vocabulary(("road", "car"), colors), **at)
        bag.write("/l", m.LABEL_INFO, info, STAMP)
    got = {topic: message for topic, _, stamp, message in read_all(path) if stamp == STAMP}
    s = got["/s"]
    assert (s.header.stamp.sec, s.header.stamp.nanosec) == (1_700_000_000, 123_456_789)
    assert (s.level, s.nearest_adapter, s.mix_id) == (1, "fog-day", MIX.identity)
    assert (s.score, s.smoothed_score, s.observed.nanosec) == (1.5, 1.25, 123_456_782)
    assert math.isnan(s.nearest_distance)
    a = got["/a"]
    assert [each.name for each in a.mix.adapters] == ["fog-day", "base", "rain-day"]
    weights, distances = zip(*((e.weight, e.distance) for e in a.mix.adapters), strict=True)
    np.testing.assert_allclose(weights, [0.6, 0.3, 0.1], rtol=1e-6)
    np.testing.assert_allclose(distances, [1.5, np.nan, np.nan])
    assert (a.since.nanosec, a.state, a.hint, a.hint_share) == (5, 0, "fog", 0.5)
    w = got["/w"]
    assert (w.from_mix.id, w.reason, w.committed) == ("base=1", "domain", True)
    assert w.fuse_s == pytest.approx(0.0035)
    assert [(c.class_id, c.class_name) for c in got["/l"].class_map] == [
        (0, "road"),
        (1, "car"),
        (255, "unlabeled"),
    ]


def test_images_come_back(tmp_path):
    path = tmp_path / "out.mcap"
    rng = np.random.default_rng(0)
    mask8 = rng.integers(0, 9, (30, 41), dtype=np.uint8)
    mask16 = rng.integers(0, 900, (30, 41), dtype=np.uint16)
    smooth = cv2.resize(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8), (40, 30))
    at = {"stamp_ns": STAMP, "frame_id": "cam"}
    with BagWriter(path) as bag:
        bag.write("/m8", m.IMAGE, m.image_fields(mask8, **at), 1)
        bag.write("/m16", m.IMAGE, m.image_fields(mask16, **at), 2)
        bag.write("/view", m.IMAGE, m.image_fields(smooth[:, ::2], **at), 3)
        bag.write("/png", m.COMPRESSED_IMAGE, m.png_fields(mask16, **at), 4)
        bag.write("/jpg", m.COMPRESSED_IMAGE, m.jpeg_fields(smooth, **at), 5)
    got = {topic: message for topic, *_, message in read_all(path)}
    assert (got["/m8"].encoding, got["/m8"].step) == ("mono8", 41)
    np.testing.assert_array_equal(got["/m8"].data.reshape(30, 41), mask8)
    assert (got["/m16"].encoding, got["/m16"].step) == ("mono16", 82)
    np.testing.assert_array_equal(got["/m16"].data.view("<u2").reshape(30, 41), mask16)
    np.testing.assert_array_equal(got["/view"].data.reshape(30, 20, 3), smooth[:, ::2])
    np.testing.assert_array_equal(cv2.imdecode(got["/png"].data, -1), mask16)
    back = cv2.imdecode(got["/jpg"].data, cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(back.astype(int) - smooth).mean() < 6
    with pytest.raises(BagError, match="got \\(2, 2\\) of float32"):
        m.image_fields(np.zeros((2, 2), np.float32), **at)


def test_the_file_appears_only_when_whole(tmp_path):
    path = tmp_path / "sub" / "out.mcap"
    with BagWriter(path) as bag:
        bag.write("/t", STRING, {"data": "x"}, 1)
        assert not path.exists()
    assert [f.name for f in path.parent.iterdir()] == ["out.mcap"]


def test_an_interrupted_recording_is_kept_and_marked(tmp_path):
    path = tmp_path / "out.mcap"

    def record():
        with BagWriter(path) as bag:
            bag.write("/t", STRING, {"data": "x"}, 1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record()
    assert [f.name for f in tmp_path.iterdir()] == ["out.partial.mcap"]
    assert read_all(tmp_path / "out.partial.mcap")[0][3].data == "x"


def test_an_empty_recording_is_whole(tmp_path):
    with BagWriter(tmp_path / "out.mcap"):
        pass
    assert read_all(tmp_path / "out.mcap") == []


@pytest.mark.parametrize(
    ("msgtype", "fields", "message"),
    [
        ("std_msgs/msg/String", {"text": "x"}, "expected the fields"),
        ("std_msgs/msg/String", {}, "expected the fields"),
        ("std_msgs/msg/String", {"data": 7}, "does not fit"),
        ("std_msgs/msg/Int8", {"data": 700}, "does not fit"),
        ("acme_msgs/msg/Rocket", {"data": 7}, "is unknown"),
    ],
)
def test_wrong_messages_are_refused(tmp_path, msgtype, fields, message):
    with BagWriter(tmp_path / "out.mcap") as bag, pytest.raises(BagError, match=message):
        bag.write("/t", msgtype, fields, 1)


def test_a_topic_holds_one_type_and_new_types_can_be_given(tmp_path):
    path = tmp_path / "out.mcap"
    definitions = {"acme_msgs/msg/Rocket": "std_msgs/Header header\nfloat64[] thrust"}
    with BagWriter(path, definitions=definitions) as bag:
        fields = {"header": m.header_fields(1, "r"), "thrust": [1.0, 2.5]}
        bag.write("/rocket", "acme_msgs/msg/Rocket", fields, 1)
        with pytest.raises(BagError, match="holds 'acme_msgs/msg/Rocket'"):
            bag.write("/rocket", STRING, {"data": "x"}, 1)
    ((_, _, _, rocket),) = read_all(path)
    np.testing.assert_array_equal(rocket.thrust, [1.0, 2.5])


def test_misuse_is_refused(tmp_path):
    with pytest.raises(BagError, match=r"ending in \.mcap"):
        BagWriter(tmp_path / "out.bag")
    with pytest.raises(BagError, match="not open"):
        BagWriter(tmp_path / "out.mcap").write("/t", STRING, {"data": "x"}, 1)
    with pytest.raises(BagError, match="cannot be parsed"):
        BagWriter(tmp_path / "out.mcap", definitions={"a/msg/B": "float64[ x"})
    (tmp_path / "file").write_text("x")
    with pytest.raises(BagError, match="cannot write"), BagWriter(tmp_path / "file" / "o.mcap"):
        pass


def test_every_msg_file_of_the_package_is_known():
    store = typestore_with()
    for package in SOURCES:
        folder = message_folder(package)
        assert folder is not None, package
        for file in folder.glob("*.msg"):
            assert f"{package}/msg/{file.stem}" in store.fielddefs
    assert message_folder("acme_msgs") is None


def test_a_disk_that_fills_at_the_end_keeps_what_was_recorded(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    image = np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8)
    fields = image_fields(image, stamp_ns=1, frame_id="c")
    path = tmp_path / "drive.mcap"
    bag = BagWriter(path).__enter__()
    for i in range(3):
        bag.write("/image", IMAGE, fields, i)
    monkeypatch.setattr("rosbags.rosbag2.storage_mcap.McapWriter.close", full)
    with pytest.raises(BagError, match=r"kept in .*drive\.partial\.mcap.*mcap recover"):
        bag.__exit__(None, None, None)
    assert [f.name for f in tmp_path.iterdir()] == ["drive.partial.mcap"]
    assert len(list(read_frames(tmp_path / "drive.partial.mcap", on_note=lambda _: None))) == 3


def test_what_a_killed_writer_leaves_has_a_name_that_says_so_and_is_readable(tmp_path):
    code = (
        "import os, sys, numpy as np; from pathlib import Path\n"
        "from semla_ros.data.bags.writer import BagWriter\n"
        "from semla_ros.data.bags.messages import IMAGE, image_fields\n"
        "image = np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8)\n"
        "with BagWriter(Path(sys.argv[1])) as bag:\n"
        "    for i in range(5):\n"
        "        fields = image_fields(image, stamp_ns=1 + i, frame_id='c')\n"
        "        bag.write('/image', IMAGE, fields, i)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "drive.mcap")], check=False)
    assert done.returncode == -9
    (left,) = tmp_path.glob("drive.partial-*/bag/*.mcap")
    frames = list(read_frames(left, on_note=lambda _: None))
    assert 4 <= len(frames) <= 5


def test_a_killed_writer_loses_nothing_before_its_last_checkpoint(tmp_path):
    """Far less than a chunk was written: without checkpoints all of it would be gone."""
    program = (
        "import os, signal, sys, numpy as np\n"
        "from pathlib import Path\n"
        "from semla_ros.data.bags.messages import IMAGE, image_fields\n"
        "from semla_ros.data.bags.writer import BagWriter\n"
        "with BagWriter(Path(sys.argv[1])) as bag:\n"
        "    for i in range(5):\n"
        "        fields = image_fields(np.zeros((4, 4), np.uint8), stamp_ns=i, frame_id='c')\n"
        "        bag.write('/camera', IMAGE, fields, i)\n"
        "        bag.checkpoint() if i < 4 else os.kill(os.getpid(), signal.SIGKILL)\n"
        "        print(bag.unfinished)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "drive.mcap")],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == -9, done.stderr
    notes = []
    left = next(tmp_path.glob("drive.partial-*/bag/bag.mcap"))
    frames = list(read_frames(left, on_note=notes.append))
    assert [f.stamp_ns for f in frames] == [0, 1, 2, 3]
    assert notes


def test_checkpoints_leave_a_whole_recording(tmp_path):
    path = tmp_path / "a.mcap"
    with BagWriter(path) as bag:
        bag.checkpoint()
        for i in range(3):
            bag.write("/a", STRING, {"data": str(i)}, i)
            bag.checkpoint()
    bag.checkpoint()
    assert [message.data for *_, message in read_all(path)] == ["0", "1", "2"]
