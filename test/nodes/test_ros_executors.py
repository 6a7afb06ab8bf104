"""Executors and settings of the processes that pass images on."""

import platform
import subprocess
import sys
import time

import pytest

pytest.importorskip("rclpy", reason="rclpy is missing: source ROS 2 or run scripts/setup")

from rclpy.executors import MultiThreadedExecutor, SingleThreadedExecutor

from semla_ros.core.config import Config
from semla_ros.core.errors import EngineUnavailableError
from semla_ros.nodes import executors
from semla_ros.nodes.camera import Camera


@pytest.fixture
def context():
    import rclpy

    rclpy.init(args=[])
    yield
    rclpy.try_shutdown()


def ended(executor):
    executor.shutdown()
    return type(executor)


def test_an_executor_is_what_its_name_says(context):
    assert ended(executors.make_executor("single")) is SingleThreadedExecutor
    assert ended(executors.make_executor("multi")) is MultiThreadedExecutor


def test_the_event_driven_executor_is_asked_for_by_name_or_refused(context, monkeypatch):
    name = "rclpy.experimental.events_executor"
    monkeypatch.setitem(sys.modules, name, None)  # what an older rclpy looks like
    with pytest.raises(EngineUnavailableError, match="take 'single'"):
        executors.make_executor("events")
    assert ended(executors.fastest_executor()) is SingleThreadedExecutor


def test_the_fastest_executor_is_event_driven_where_there_is_one(context):
    pytest.importorskip("rclpy.experimental.events_executor", reason="rclpy older than Jazzy's")
    found = ended(executors.fastest_executor())
    assert found not in (SingleThreadedExecutor, MultiThreadedExecutor)


@pytest.mark.parametrize("kind", ["single", "multi", "events"])
def test_images_come_through_every_executor(context, kind):
    if kind == "events":
        pytest.importorskip("rclpy.experimental.events_executor", reason="rclpy too old")
    from rclpy.lifecycle import LifecycleNode
    from sensor_msgs.msg import Image

    executor = executors.make_executor(kind)
    node, received = LifecycleNode("camera_test"), []
    camera = Camera(node, Config(executor=kind), received.append)
    publisher = node.create_publisher(Image, camera.topic, 1)
    executor.add_node(node)
    deadline = time.monotonic() + 20
    while len(received) < 3 and time.monotonic() < deadline:
        publisher.publish(Image(height=1, width=1, step=3, encoding="rgb8", data=bytes(3)))
        executor.spin_once(timeout_sec=0.1)
    executor.remove_node(node)
    camera.close()
    node.destroy_node()
    executor.shutdown()
    assert len(received) >= 3


FAULTS = """
import resource, sys
from semla_ros.nodes.latency import prefer_latency
if sys.argv[1] == "tuned":
    assert prefer_latency()
def received():
    return [bytearray(921_600) for _ in range(3)]
received()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    received()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator is missing")
def test_freed_image_buffers_are_used_again():
    def faults(how):
        done = subprocess.run(
            [sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    assert faults("tuned") < 500 < 10_000 < faults("plain")
