"""What RViz, Foxglove and Nav2 are configured to show exists, under that name and type."""

import re
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from rosidl_parser.definition import AbstractSequence, Array, NamespacedType
from sensor_msgs.msg import Image
from vision_msgs.msg import LabelInfo

from semla_ros.core.answers import SUPPORT_LEVELS
from semla_ros.core.types import UNSUPPORTED
from semla_ros.core.viz.overlay import lut_of
from semla_ros.evaluation.live_result import NODE, RECORDED
from semla_ros.processes.recorder import message_class

ROOT = Path(__file__).resolve().parents[2]
MANY = 14
"""Topics of the node; they are discovered one by one."""
STALE_RGB = (150, 150, 150)
REPLAYED = {
    "/segmenter/overlay/compressed": "sensor_msgs/msg/CompressedImage",
    "/camera/image_raw/compressed": "sensor_msgs/msg/CompressedImage",
}
OUTSIDE = {
    "/image": "sensor_msgs/msg/Image",
    "/camera/image_raw": "sensor_msgs/msg/Image",
    "/diagnostics": "diagnostic_msgs/msg/DiagnosticArray",
}


@pytest.fixture
def published(robot):
    """Topic -> type of everything the real node publishes."""
    with robot() as it:
        end = time.monotonic() + 20.0
        found = {}
        while "/segmenter/planner/label_info" not in found or len(found) < MANY:
            assert time.monotonic() < end, f"expected over {MANY} topics, got {sorted(found)}"
            time.sleep(0.05)
            listed = it.node.get_publisher_names_and_types_by_node("segmenter", "/")
            found = {topic: types[0] for topic, types in listed}
        return found


def fields_exist(msgtype, path):
    """Whether `a.b.c` names a field of a message, a field of that one, and so on."""
    kind = message_class(msgtype)
    for name in path:
        if name not in kind.get_fields_and_field_types():
            return False
        slot = kind.SLOT_TYPES[list(kind.get_fields_and_field_types()).index(name)]
        slot = slot.value_type if isinstance(slot, (AbstractSequence, Array)) else slot
        if isinstance(slot, NamespacedType):
            kind = message_class("/".join(slot.namespaced_name()))
    return True


def test_foxglove_names_topics_and_fields_that_exist(published):
    text = (ROOT / "config" / "semla_foxglove.json").read_text()
    named = re.findall(r'"(/[a-z_]+[a-z0-9_/]*)((?:\.[a-z0-9_]+)*)"', text)
    assert len(named) > 12
    known = published | OUTSIDE | REPLAYED
    for topic, path in named:
        assert topic in known, f"{topic} is not published"
        assert fields_exist(known[topic], path.split(".")[1:]), f"{topic}{path} is no field"


def test_a_recording_holds_what_the_node_publishes(published):
    for name in RECORDED:
        assert f"{NODE}/{name}" in published


def test_rviz_shows_images_that_exist_with_a_qos_that_fits(published):
    config = yaml.safe_load((ROOT / "config" / "semla.rviz").read_text())
    displays = config["Visualization Manager"]["Displays"]
    names = [d["Name"] for d in displays]
    assert {"Camera", "Overlay", "Mask", "Legend", "Status"} <= set(names)
    for display in displays:
        topic = display["Topic"]["Value"]
        assert (published | OUTSIDE)[topic] == "sensor_msgs/msg/Image"
        latched = topic.endswith("legend")
        assert display["Topic"]["Durability Policy"] == (
            "Transient Local" if latched else "Volatile"
        )
    docks = bytes.fromhex(config["Window Geometry"]["QMainWindow State"])
    for name in names:
        assert name.encode("utf-16-be") in docks, f"{name} has no place in the window"


def test_nav2_listens_to_topics_that_exist(published):
    text = (ROOT / "config" / "nav2_costmap.yaml").read_text()
    parameters = yaml.safe_load(text)["local_costmap"]["local_costmap"]["ros__parameters"]
    camera = parameters["semantic_segmentation_layer"]["camera"]
    assert published[camera["segmentation_topic"]] == "sensor_msgs/msg/Image"
    assert published[camera["confidence_topic"]] == "sensor_msgs/msg/Image"
    assert published[camera["labels_topic"]] == "vision_msgs/msg/LabelInfo"


def test_the_coloured_mask_has_the_colours_of_its_classes(robot, make_image, scene, tiny):
    with robot() as it:
        masks, colors = it.listen("mask", Image), it.listen("mask_color", Image)
        it.send(make_image(scene), lambda: masks and colors)
        by_stamp = {(m.header.stamp.sec, m.header.stamp.nanosec): m for m in masks}
        shown = colors[-1]
        mask = by_stamp[shown.header.stamp.sec, shown.header.stamp.nanosec]
    assert (shown.encoding, shown.step) == ("rgb8", 3 * mask.width)
    assert shown.header == mask.header
    labels = np.frombuffer(mask.data, np.uint8).reshape(mask.height, mask.width)
    rgb = np.frombuffer(shown.data, np.uint8).reshape(mask.height, mask.width, 3)
    lut = lut_of(tiny.manifest.vocabulary)
    assert np.unique(labels).size > 1
    np.testing.assert_array_equal(rgb, lut[labels])


def test_status_and_planner_mask_come_with_the_image_header(robot, make_image, scene):
    with robot() as it:
        masks, planner = it.listen("mask", Image), it.listen("planner/mask", Image)
        pictures = it.listen("status", Image)
        info = it.listen("planner/label_info", LabelInfo, latched=True)
        it.send(make_image(scene), lambda: masks and planner and pictures and info)
        by_stamp = {(m.header.stamp.sec, m.header.stamp.nanosec): m for m in masks}
        pairs = [
            (by_stamp[key], p)
            for p in planner
            if (key := (p.header.stamp.sec, p.header.stamp.nanosec)) in by_stamp
        ]
        names = {c.class_id: c.class_name for c in info[-1].class_map}
        plain = [n for n in names.values() if not n.endswith(UNSUPPORTED)]
    assert len(plain) == (len(names) - 1) // 2 + 1
    assert pictures[0].encoding == "rgb8"
    assert pairs
    for mask, doubled in pairs:
        assert doubled.header == mask.header
        assert (doubled.encoding, doubled.step) == ("mono8", doubled.width)
        ids, raised = (np.frombuffer(m.data, np.uint8) for m in (mask, doubled))
        meant = {names[int(i)].removesuffix(UNSUPPORTED) for i in np.unique(raised)}
        assert meant == {names[int(i)] for i in np.unique(ids)}
    assert SUPPORT_LEVELS[0] == "OK"


def test_a_stalled_camera_turns_the_status_picture(robot, make_image, scene):
    with robot(stale_timeout_s=0.2) as it:
        pictures = it.listen("status", Image)

        def says_stale():
            return any(tuple(p.data[:3]) == STALE_RGB for p in list(pictures))

        it.send(make_image(scene), lambda: pictures)
        end = time.monotonic() + 20.0
        while not says_stale() and time.monotonic() < end:
            time.sleep(0.05)
        assert says_stale()
