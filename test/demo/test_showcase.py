"""The demo as a newcomer runs it, only shorter: three processes, real topics, a page."""

import importlib.util
import json
import re

import pytest

from semla_ros.data.bags.recording import image_topics
from semla_ros.data.bags.topics import read_topic, stamp_ns
from semla_ros.demo import showcase
from semla_ros.demo.world import DOMAINS
from semla_ros.evaluation.live_result import CAMERA
from semla_ros.processes.live import MASK

pytestmark = pytest.mark.ros
SECONDS = 8.0


@pytest.fixture(scope="module")
def shown(tiny, tmp_path_factory):
    for module in ("rclpy", "semla_ros.msg"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs {module}: scripts/setup, then . scripts/ros_env")
    out = tmp_path_factory.mktemp("demo")
    return out, showcase.run(out, seconds=SECONDS, fps=5.0, bundle=tiny.root)


def test_the_summary_adds_up(shown):
    out, _ = shown
    summary = json.loads((out / "summary.json").read_text())
    frames = summary["frames"]
    assert frames["sent"] == int(SECONDS * 5)
    assert frames["received"] + frames["dropped"] == frames["sent"]
    assert frames["received"] > 0
    assert set(summary["latency_ms"]) >= {"p50", "p95", "p99"}
    assert set(summary["miou"]["domains"]) <= set(DOMAINS)
    scored = sum(d["frames"] for d in summary["miou"]["domains"].values())
    assert scored == frames["received"]
    assert {"semla_ros", "python", "onnxruntime"} <= set(summary["versions"])


def test_the_recording_holds_camera_and_masks_of_the_same_stamps(shown):
    out, _ = shown
    recording = out / "drive.mcap"
    topics = {topic.name: topic.count for topic in image_topics(recording)}
    summary = json.loads((out / "summary.json").read_text())
    assert topics[CAMERA] == summary["frames"]["sent"]
    camera = {stamp_ns(m.message) for m in read_topic(recording, CAMERA, "sensor_msgs/msg/Image")}
    masks = [stamp_ns(m.message) for m in read_topic(recording, MASK, "sensor_msgs/msg/Image")]
    assert set(masks) <= camera
    assert len(masks) == len(set(masks)), "a mask was published twice"


def test_the_page_is_whole_and_needs_nothing_from_outside(shown):
    out, demo = shown
    page = demo.page.read_text()
    assert demo.page == out / "index.html"
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", page)
    for words in ("The drive", "What it adapted to", "What adaptation was worth"):
        assert words in page
    assert "mIoU" in demo.shows
