"""Faults that a planner must hear of, in the running node over ROS 2."""

import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from semla_ros.msg import SupportScore
from sensor_msgs.msg import Image

from semla_ros.navigator.encoder import OnnxImageEncoder

OK, STALE = SupportScore.OK, SupportScore.STALE


class Drive:
    """Sends images of one scene with stamps that go on, 20 a second, while it is entered."""

    def __init__(self, robot, message, *, stamps=None):
        self._robot, self._message = robot, message
        self._stamps = stamps or (lambda n: n * 50_000_000 + 10**12)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send)

    def _send(self):
        number = 0
        while not self._stop.wait(0.05):
            stamp = self._message.header.stamp
            stamp.sec, stamp.nanosec = divmod(self._stamps(number), 10**9)
            self._robot.camera.publish(self._message)
            number += 1

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


@pytest.fixture
def encoder(monkeypatch):
    """Let the test say what the navigator does: answer, raise, or hang until released."""
    encode = OnnxImageEncoder.encode

    class Switch:
        error, hang, calls = None, None, 0

    def switched(self, rgb):
        Switch.calls += 1
        if Switch.hang is not None:
            Switch.hang.wait(120)
        if Switch.error is not None:
            raise Switch.error
        return encode(self, rgb)

    monkeypatch.setattr(OnnxImageEncoder, "encode", switched)
    yield Switch
    if Switch.hang is not None:
        Switch.hang.set()


@pytest.mark.parametrize("fault", ["hangs", "raises"])
def test_a_dead_navigator_is_stale_and_told_and_comes_back(
    robot, make_image, scene, encoder, wait, capfd, fault
):
    with robot(support_max_age_s=0.5) as it:
        supports = it.listen("support", SupportScore)
        with Drive(it, make_image(scene)):
            wait(lambda: any(s.level != STALE for s in supports), "support")
            encoder.hang = threading.Event() if fault == "hangs" else None
            encoder.error = RuntimeError("no memory") if fault == "raises" else None
            wait(lambda: all(s.level == STALE for s in supports[-10:]), "STALE with every mask")
            assert supports[-1].age_s > 0.5
            words = "hangs" if fault == "hangs" else "no memory"
            it.diagnosed("support", lambda s, _: s.level == b"\x02" and words in s.message, words)
            if encoder.hang is not None:
                encoder.hang.set()
            encoder.hang = encoder.error = None
            wait(lambda: supports[-1].level != STALE, "support again")
    said = [line for line in capfd.readouterr().err.splitlines() if words in line]
    assert 1 <= len(said) <= 2, "at most once as a failure and once as what diagnostics say"


def test_zero_stamps_are_judged_by_arrival_and_told(robot, make_image, scene, encoder, wait):
    with robot() as it:
        masks, supports = it.listen("mask", Image), it.listen("support", SupportScore)
        with Drive(it, make_image(scene), stamps=lambda n: 0):
            wait(lambda: len(supports) > 30 and supports[-1].level != STALE, "support")
            it.diagnosed(
                "image",
                lambda s, f: s.level == b"\x01" and f["stamps"] == "arrival",
                "stamps that cannot be used",
            )
        assert encoder.calls >= 3
        assert {(m.header.stamp.sec, m.header.stamp.nanosec) for m in masks} == {(0, 0)}


def test_the_first_mask_after_a_deactivation_is_stale(robot, make_image, scene, wait):
    with robot() as it:
        supports = it.listen("support", SupportScore)
        message = make_image(scene)
        with Drive(it, message):
            wait(lambda: any(s.level != STALE for s in supports), "support")
        assert it.transition("deactivate")
        count = len(supports)
        assert it.transition("activate")
        with Drive(it, message, stamps=lambda n: n * 50_000_000 + 1001 * 10**9):
            again = wait(
                lambda: [s for s in supports[count:] if s.header.stamp.sec < 10_000],
                "support of an image",
            )
            assert again[0].level == STALE
            wait(lambda: supports[-1].level != STALE, "support again")


def test_a_hung_network_is_told_apart_from_a_dead_camera(robot, make_image, scene, wait):
    release = threading.Event()
    with robot(stale_timeout_s=0.4) as it:
        it.node._pipeline.engine.infer = lambda rgb: release.wait(120)  # the network hangs
        with Drive(it, make_image(scene)):
            it.diagnosed(
                "inference",
                lambda s, _: s.level == b"\x02" and "in the network" in s.message,
                "the network hangs",
            )
            it.diagnosed("image", lambda s, _: s.message == "receiving", "images arrive")
            it.diagnosed("support", lambda s, _: s.message == "STALE", "STALE")
            del it.node._pipeline.engine.infer
            release.set()
            it.diagnosed("inference", lambda s, _: s.level == b"\x00", "the network is back")


HANGS = """
import sys, threading
from semla_ros.nodes import segmenter_node
from semla_ros.{module} import {cls}
{cls}.{method} = lambda self, *words: threading.Event().wait()
sys.exit(segmenter_node.main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("module", "cls", "method"),
    [
        ("navigator.encoder", "OnnxImageEncoder", "encode"),
        ("engine.fake_engine", "FakeEngine", "_infer_impl"),
    ],
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_node_that_hangs_still_ends(robot, tiny, make_image, scene, module, cls, method, number):
    with robot(active=False, extra=("-r", "__node:=other")) as it:
        program = HANGS.format(module=module, cls=cls, method=method)
        words = f"--ros-args -r image:=/camera/image_raw -p bundle:={tiny.root} -p engine:=fake"
        node = subprocess.Popen([sys.executable, "-c", program, *words.split()])
        try:
            with Drive(it, make_image(np.asarray(scene))):
                deadline = time.monotonic() + 60
                while not it.camera.get_subscription_count() and time.monotonic() < deadline:
                    time.sleep(0.05)
                time.sleep(2.0)
            node.send_signal(number)
            assert node.wait(30) is not None
        finally:
            node.kill()
            node.wait()
