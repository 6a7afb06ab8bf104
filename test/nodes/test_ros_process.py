"""The programs as processes: clean ends, and live equal to replay."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from nodes.conftest import wait_for
from rosbags.highlevel import AnyReader

from semla_ros.core.config import Config
from semla_ros.data.bags.definitions import typestore_with
from semla_ros.data.bags.messages import IMAGE, image_fields
from semla_ros.data.bags.reader import read_frames
from semla_ros.data.bags.writer import BagWriter
from semla_ros.pipeline import build_pipeline

ROOT = Path(__file__).resolve().parents[2]
FRAMES = 12


def start(module, *words):
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, words)],
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def end(process, *, signals=1):
    """Return exit code and output after SIGINT, sent `signals` times."""
    for _ in range(signals):
        process.send_signal(signal.SIGINT)  # nothing where it has ended
        time.sleep(0.05)
    output, _ = process.communicate(timeout=90)
    return process.returncode, output


def wait_for_line(process, text):
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return
    pytest.fail(f"{text!r} was not said: {''.join(lines)}")


@pytest.fixture
def recording(tmp_path):
    """Return a recording of a few seeded frames."""
    path = tmp_path / "drive.mcap"
    rng = np.random.default_rng(3)
    with BagWriter(path) as bag:
        for number in range(FRAMES):
            rgb = np.kron(rng.integers(0, 256, (6, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
            stamp = (1_000 + number) * 100_000_000
            fields = image_fields(rgb, stamp_ns=stamp, frame_id="camera")
            bag.write("/camera", IMAGE, fields, stamp)
    return path


def node(bundle, *words):
    return start(
        "semla_ros.nodes.segmenter_node",
        *("--ros-args", "-r", "image:=/drive/image", "-p", f"bundle:={bundle.root}"),
        *("-p", "engine:=fake", "-p", "swap_policy:=never", *words),
    )


@pytest.mark.parametrize("signals", [1, 2, 20])
def test_ctrl_c_ends_the_node_without_a_trace(tiny, signals):
    process = node(tiny)
    wait_for_line(process, "segmenting /drive/image")
    code, output = end(process, signals=signals)
    assert code == 0, output
    assert "Traceback" not in output


def test_live_masks_equal_the_replay_frame_for_frame(tiny, recording, tmp_path):
    heard = tmp_path / "heard.mcap"
    live = node(tiny)
    wait_for_line(live, "segmenting")
    counts = tmp_path / "counts.json"
    recorder = start("semla_ros.processes.recorder", heard, "/segmenter/mask", "--report", counts)
    sent = tmp_path / "sent.json"
    wait_for_line(recorder, "recording /segmenter/mask")
    player = start(
        "semla_ros.processes.player",
        *(recording, "--to", "/drive/image", "--hz", 10, "--report", sent),
    )
    output, _ = player.communicate(timeout=60)
    assert player.returncode == 0, output
    time.sleep(0.5)
    assert end(recorder)[0] == 0
    assert end(live)[0] == 0

    report = json.loads(sent.read_text())
    assert report["sent"] == FRAMES
    assert report["stamps_ns"] == [(1_000 + n) * 100_000_000 for n in range(FRAMES)]
    masks = masks_of(heard)
    assert json.loads(counts.read_text()) == {"/segmenter/mask": len(masks)}
    assert masks, "a busy machine may lose frames; those answered must be equal"
    config = Config(bundle=str(tiny.root), engine="fake", swap_policy="never", adaptation="inline")
    with build_pipeline(config) as pipeline:
        offline = {f.stamp_ns: pipeline.step(f).labels for f in read_frames(recording)}
    for stamp, mask in masks.items():
        np.testing.assert_array_equal(mask, offline[stamp])


def test_the_recorder_asks_the_camera_only_when_it_hears_the_answers(tmp_path):
    """A player that waits for it would else be ahead of the masks' subscription."""
    import rclpy
    from sensor_msgs.msg import Image

    rclpy.init(args=[])
    peer = rclpy.create_node("peer", use_global_arguments=False)
    try:
        camera = peer.create_publisher(Image, "/early/camera", 10)
        words = (tmp_path / "all.mcap", "/early/mask", "--last", "early/camera")
        recorder = start("semla_ros.processes.recorder", *words)
        wait_for_line(recorder, "until the recording is whole")
        time.sleep(2.0)
        assert camera.get_subscription_count() == 0
        masks = peer.create_publisher(Image, "/early/mask", 10)
        wait_for(camera.get_subscription_count, "the camera is recorded")
        assert masks.get_subscription_count() == 1
        code, output = end(recorder)
    finally:
        peer.destroy_node()
        rclpy.try_shutdown()
    assert code == 0, output


def masks_of(path):
    """Return header stamp -> mask of a recording."""
    masks = {}
    with AnyReader([path], default_typestore=typestore_with()) as reader:
        for connection, _, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
            assert message.header.frame_id == "camera"
            masks[stamp] = message.data.reshape(message.height, message.width)
    return masks


def test_the_player_says_when_nobody_listens(recording):
    player = start("semla_ros.processes.player", recording, "--to", "/nobody", "--wait", 0.5)
    output, _ = player.communicate(timeout=90)
    assert player.returncode == 1
    assert "expected 1 subscribers of '/nobody'" in output
    assert "Traceback" not in output


def test_the_player_names_a_missing_recording(tmp_path):
    player = start("semla_ros.processes.player", tmp_path / "none.mcap")
    output, _ = player.communicate(timeout=90)
    assert player.returncode == 1
    assert "none.mcap" in output
    assert "Traceback" not in output
