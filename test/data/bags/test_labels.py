"""Label images out of recordings: ids as they were published."""

import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from semla_ros.core.errors import BagError
from semla_ros.core.files.label_image import decode_labels
from semla_ros.data.bags.labels import read_labels
from semla_ros.data.bags.messages import COMPRESSED_IMAGE, IMAGE, image_fields, png_fields
from semla_ros.data.bags.writer import BagWriter
from semla_ros.data.labels.label_map import read_label_map
from semla_ros.data.labels.source import TopicTruth

STAMP = 1_700_000_000_000_000_000
LIMIT = 10_000


def raw_message(store, values, encoding, *, stamp=STAMP, big=0, ros1=False, step=None, padding=0):
    rows = np.ascontiguousarray(values).reshape(len(values), -1).view(np.uint8)
    data = np.pad(rows, ((0, 0), (0, padding)), constant_values=238)
    time = store.types["builtin_interfaces/msg/Time"](stamp // 10**9, stamp % 10**9)
    fields = {"seq": 0, "stamp": time, "frame_id": ""} if ros1 else {"stamp": time, "frame_id": ""}
    header = store.types["std_msgs/msg/Header"](**fields)
    return store.types[IMAGE](
        header,
        values.shape[0],
        values.shape[1],
        encoding,
        big,
        step or data.shape[1],
        data.reshape(-1),
    )


def write(path, messages, plugin):
    store = get_typestore(Stores.LATEST)
    with Writer(path, version=9, storage_plugin=plugin) as bag:
        connection = bag.add_connection("/truth", IMAGE, typestore=store)
        for i, (values, encoding, more) in enumerate(messages):
            message = raw_message(store, values, encoding, **{"stamp": STAMP + i, **more})
            bag.write(connection, STAMP + i, store.serialize_cdr(message, IMAGE))
    return path


IDS = np.arange(12).reshape(3, 4)


@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
@pytest.mark.parametrize(
    ("values", "encoding", "more"),
    [
        (IDS.astype(np.uint8), "mono8", {}),
        (IDS.astype(np.uint8), "8UC1", {"padding": 3}),
        (IDS.astype(np.uint16) * 300, "mono16", {}),
        ((IDS * 300).astype(">u2"), "16UC1", {"big": 1}),
        (IDS.astype(np.int32) - 5, "32SC1", {"padding": 4}),
        (IDS.astype(np.uint8), "mono8", {"stamp": 0}),
        (IDS.astype(np.uint8).reshape(2, 2, 3), "rgb8", {}),
    ],
)
def test_ids_come_back_as_published(tmp_path, plugin, values, encoding, more):
    path = write(tmp_path / "bag", [(values, encoding, more)], plugin)
    (found,) = read_labels(path, "/truth", max_pixels=LIMIT)
    assert found.stamp_ns == STAMP
    assert found.error == ""
    assert np.array_equal(found.labels, values)


def test_as_many_labels_as_are_allowed_are_read(tmp_path):
    path = write(tmp_path / "bag", [(IDS.astype(np.uint8), "mono8", {})], StoragePlugin.MCAP)
    (found,) = read_labels(path, "/truth", max_pixels=12)
    assert np.array_equal(found.labels, IDS)
    (refused,) = read_labels(path, "/truth", max_pixels=11)
    assert (refused.labels, "at most 11 pixels" in refused.error) == (None, True)


def test_bgr_becomes_rgb(tmp_path):
    rgb = IDS.astype(np.uint8).reshape(2, 2, 3)
    path = write(tmp_path / "bag", [(rgb, "bgr8", {})], StoragePlugin.MCAP)
    (found,) = read_labels(path, "truth", max_pixels=LIMIT)
    assert np.array_equal(found.labels, rgb[..., ::-1])


def test_ros1_labels(tmp_path):
    store = get_typestore(Stores.ROS1_NOETIC)
    with Ros1Writer(tmp_path / "old.bag") as bag:
        connection = bag.add_connection("/truth", IMAGE, typestore=store)
        message = raw_message(store, IDS.astype(np.uint8), "mono8", ros1=True)
        bag.write(connection, STAMP, store.serialize_ros1(message, IMAGE))
    (found,) = read_labels(tmp_path / "old.bag", "/truth", max_pixels=LIMIT)
    assert (found.stamp_ns, found.labels.tolist()) == (STAMP, IDS.tolist())


def test_unusable_messages_say_why_and_the_rest_is_read(tmp_path):
    good = IDS.astype(np.uint8)
    messages = [
        (good, "mono8", {"step": 5}),
        (good.astype(np.float32), "32FC1", {}),
        (np.zeros((200, 200), np.uint8), "mono8", {}),
        (good, "mono8", {}),
    ]
    path = write(tmp_path / "bag", messages, StoragePlugin.MCAP)
    found = list(read_labels(path, "/truth", max_pixels=LIMIT))
    assert [bool(f.error) for f in found] == [True, True, True, False]
    assert "step x height = 5 x 3" in found[0].error
    assert "'32FC1'" in found[1].error
    assert "at most 10000 pixels" in found[2].error


def test_compressed_labels_are_handed_over_as_png(tmp_path):
    with BagWriter(tmp_path / "x.mcap") as bag:
        fields = png_fields(IDS.astype(np.uint16) * 700, stamp_ns=STAMP, frame_id="")
        bag.write("/truth", COMPRESSED_IMAGE, fields, STAMP)
    (found,) = read_labels(tmp_path / "x.mcap", "/truth", max_pixels=LIMIT)
    assert np.array_equal(decode_labels(found.png, max_pixels=LIMIT), IDS * 700)


def test_a_missing_topic_lists_those_there_are(tmp_path):
    path = write(tmp_path / "bag", [(IDS.astype(np.uint8), "mono8", {})], StoragePlugin.MCAP)
    with pytest.raises(BagError, match=r"'/labels'.*/truth \(1\)"):
        next(read_labels(path, "/labels", max_pixels=LIMIT))


def test_truth_on_a_topic_is_found_by_stamp_though_it_comes_late(tmp_path):
    """Labels are recorded after their frames, out of order, and some are missing."""
    order = [1, 0, 3, 2, 5]
    with BagWriter(tmp_path / "x.mcap") as bag:
        for place, i in enumerate(order):
            image = np.full((2, 2), i % 3, np.uint8)
            fields = image_fields(image, stamp_ns=STAMP + i * 10**9, frame_id="")
            bag.write("/truth", IMAGE, fields, STAMP + (place + 1) * 10**9)
    truth = TopicTruth(
        tmp_path / "x.mcap",
        "/truth",
        read_label_map("identity"),
        classes=("a", "b", "c"),
        max_pixels=LIMIT,
    )
    found = [truth.truth(STAMP + i * 10**9 + 1_000_000, "").labels for i in range(7)]
    assert [None if f is None else int(f[0, 0]) for f in found] == [0, 1, 2, 0, None, 2, None]
