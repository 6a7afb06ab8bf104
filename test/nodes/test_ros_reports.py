"""What the live node says and does about broken images, lost ones, refused orders and names."""

import gc
import os
import shutil
import subprocess
import sys
import threading

import pytest
from rclpy.task import Future
from semla_ros.msg import MixState
from semla_ros.srv import SelectAdapters, SetVocabulary
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

SELECT, FOLLOW = SelectAdapters.Request.PIN, SelectAdapters.Request.FOLLOW


def test_a_camera_whose_every_second_image_is_broken_is_an_error(robot, make_image, scene, wait):
    with robot(swap_policy="never") as it:
        masks = it.listen("mask", Image)
        for number in range(24):
            stamp = (1000 + number, 0)
            good = make_image(scene, stamp=stamp)
            bad = make_image(scene, stamp=stamp, encoding="torn")
            it.camera.publish(bad if number % 2 else good)
            wait(lambda n=number: it.node._stream.report().worker.recent > n, f"image {number}")
        status, _ = it.diagnosed("inference", lambda s, _: s.level == b"\x02", "ERROR")
        assert "50% of the last" in status.message
        assert "torn" in status.message
        assert len(masks) >= 10


def test_a_misspelt_exclude_is_refused_with_what_was_meant(robot):
    with robot() as it:
        done, reason = it.set_parameter("exclude", "fogg")
        assert not done
        assert "got 'fogg': did you mean 'fog'?" in reason
        assert it.node.get_parameter("exclude").value == ""
        assert it.set_parameter("exclude", "fog, night") == (True, "")


def test_a_node_told_to_exclude_what_is_not_there_does_not_start(robot):
    with robot(active=False, exclude="nihgt") as it:
        assert it.node.state == "unconfigured"
        status, _ = it.diagnosed("node", lambda s, _: s.level == b"\x02", "ERROR")
        assert "got 'nihgt': did you mean 'night'?" in status.message
        assert it.set_parameter("exclude", "night") == (True, "")
        assert it.transition("configure")


def test_an_excluded_adapter_that_leaves_the_library_is_told(robot, tiny, tmp_path):
    copy = tmp_path / "bundle"
    shutil.copytree(tiny.root, copy)
    with robot(bundle=copy, exclude="rain") as it:
        shutil.rmtree(copy / "library" / "rain")
        answer = it.call(Trigger, "reload_library", Trigger.Request())
        assert answer.success
        assert "excluded and not in the library: rain" in answer.message
        status, facts = it.diagnosed("adapters", lambda s, _: s.level == b"\x01", "WARN")
        assert (facts["unknown_excluded"], facts["unusable"]) == ("rain", "0")
        assert "rain" in status.message
        assert it.set_parameter("temperature", 0.2) == (True, "")


def held_up(it):
    """Keep the background from preparing anything; return what lets it go on."""
    go, engine = threading.Event(), it.node._pipeline.engine
    prepare = engine.prepare

    def waiting(weight_set):
        go.wait(60.0)
        prepare(weight_set)

    engine.prepare = waiting
    return go


ORDERS = [
    (SetVocabulary, "set_vocabulary", SetVocabulary.Request(class_names=["sky", "rest"])),
    (SelectAdapters, "select_adapters", SelectAdapters.Request(mode=SELECT, names=["fog"])),
    (SelectAdapters, "select_adapters", SelectAdapters.Request(mode=FOLLOW)),
    (Trigger, "reload_library", Trigger.Request()),
]


@pytest.mark.parametrize(
    ("kind", "name", "request_"), ORDERS, ids=["vocabulary", "pin", "unpin", "reload"]
)
def test_what_was_refused_at_deactivation_is_gone(
    robot, tiny, tmp_path, wait, kind, name, request_
):
    copy = tmp_path / "bundle"
    shutil.copytree(tiny.root, copy)
    with robot(bundle=copy, swap_policy="never") as it:
        night = SelectAdapters.Request(mode=SELECT, names=["night"])
        assert it.call(SelectAdapters, "select_adapters", night).success
        pipeline = it.node._pipeline
        before = (pipeline.active, pipeline.pinned, pipeline.vocabulary, pipeline.library.names)
        shutil.rmtree(copy / "library" / "rain")
        go = held_up(it)
        client = it.peer.create_client(kind, f"/segmenter/{name}")
        assert client.wait_for_service(60.0)
        answer = client.call_async(request_)
        wait(lambda: pipeline.busy, "the order is under way")
        assert it.transition("deactivate")
        wait(answer.done, "an answer")
        assert not answer.result().success
        assert "deactivated" in answer.result().message
        go.set()
        assert it.transition("activate")
        mixtures = it.listen("mix", MixState, latched=True)
        wait(lambda: mixtures, "the mixture")
        wait(lambda: not pipeline.busy, "nothing is under way")
        pinned = SelectAdapters.Request(mode=SELECT, names=["fog"])
        after = (pipeline.active, pipeline.pinned, pipeline.vocabulary, pipeline.library.names)
        assert after == before
        assert it.call(SelectAdapters, "select_adapters", pinned).success


def test_refused_calls_leave_nothing_behind(robot):
    def futures():
        gc.collect()
        return sum(type(each) is Future for each in gc.get_objects())

    wrong = SelectAdapters.Request(mode=SELECT, names=["snow"])
    with robot() as it:
        client = it.peer.create_client(SelectAdapters, "/segmenter/select_adapters")
        assert client.wait_for_service(60.0)

        def call(times):
            for _ in range(times):
                assert not client.call(wrong, timeout_sec=60.0).success

        call(5)
        before = futures()
        call(50)
        assert futures() - before < 5


FLOOD = """
import sys, time, rclpy
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node("flood")
camera = node.create_publisher(Image, "/camera/image_raw", QoSProfile(depth=1))
image = Image(height=8, width=8, encoding="rgb8", step=24, data=bytes(192))
while camera.get_subscription_count() < 1:
    time.sleep(0.05)
for number in range(int(sys.argv[1])):
    image.header.stamp = node.get_clock().now().to_msg()
    camera.publish(image)
    if number < 20 or number > 180:
        time.sleep(0.03)
time.sleep(1.0)
"""


def test_images_that_are_lost_on_the_way_are_counted(robot):
    """A camera in a process of its own sends 160 images faster than anybody can take them."""
    with robot() as it:
        it.peer.destroy_publisher(it.camera)
        subprocess.run(
            [sys.executable, "-c", FLOOD, "200"], check=True, env=dict(os.environ), timeout=120
        )
        loss = it.node._stream.camera.losses
        status, _ = it.diagnosed(
            "image", lambda _, f: int(f["lost_in_transport"]) > 0, "losses are counted"
        )
        assert loss._arrived + loss.report().lost == pytest.approx(200, abs=2)
        assert status.level >= b"\x01"
        assert "lost on the way" in status.message
