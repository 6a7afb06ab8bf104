"""Capture on the live node: what it keeps, tells and survives."""

import numpy as np
from semla_ros.msg import CaptureState
from sensor_msgs.msg import Image

from semla_ros.data.captures.folder import read_captures

LOW = {"support_low": 1e6, "out_of_library": 1e6, "capture_period_s": 0.0}


def noise(seed, rng_size=(48, 64, 3)):
    rng = np.random.default_rng(seed)
    return (rng.random(rng_size) * rng.integers(60, 256)).astype(np.uint8)


def sender(it, make_image):
    """Return a function that sends the next image and is never true."""
    seeds = iter(range(10**6))

    def send():
        seed = next(seeds)
        it.send(make_image(noise(seed), stamp=(100 + seed, 0)))
        return False

    return send


def test_a_node_captures_once_it_is_told_where(robot, make_image, wait, tmp_path):
    folder = tmp_path / "captures"
    with robot(**LOW) as it:
        states = it.listen("capture", CaptureState, latched=True)
        masks = it.listen("mask", Image)
        send = sender(it, make_image)
        wait(lambda: send() or len(masks) > 5, "masks")
        assert states[-1].state == CaptureState.OFF
        assert not folder.exists()
        it.set_parameter("capture_dir", str(folder))
        wait(lambda: send() or (states[-1].frames >= 2), "two frames")
        _, facts = it.diagnosed("capture", lambda _, f: f["folder"] == str(folder), "capture")
    last = states[-1]
    assert (last.state, last.folder) == (CaptureState.CAPTURING, str(folder))
    assert 0 < last.size_bytes < last.limit_bytes == 1000 * 2**20
    assert int(facts["kept"]) >= 1
    found = read_captures(folder)
    assert len(found.captures) >= last.frames >= 2
    assert not found.problems
    for capture in found.captures:
        sent = noise(capture.record.stamp_ns // 10**9 - 100)
        np.testing.assert_array_equal(capture.image(), sent)
        assert capture.record.frame_id == "camera_optical"


def test_a_folder_that_cannot_be_used_costs_no_mask(robot, make_image, wait):
    with robot(capture_dir="/dev/null/captures", **LOW) as it:
        states = it.listen("capture", CaptureState, latched=True)
        masks = it.listen("mask", Image)
        send = sender(it, make_image)
        wait(lambda: send() or (states and states[-1].state == "failing"), "a failing capture")
        before = len(masks)
        wait(lambda: send() or len(masks) > before + 5, "masks go on")
        status, _ = it.diagnosed("capture", lambda s, _: s.level == b"\x01", "a warning")
    assert "cannot make the capture folder '/dev/null/captures'" in status.message


def test_nobody_starts_a_program_over_ros(robot):
    """`capture_filter` is code: it is what the process was started with."""
    with robot() as it:
        successful, _ = it.set_parameter("capture_filter", "touch /tmp/x")
    assert not successful
