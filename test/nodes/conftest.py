"""A real node in this process and a real peer that sends images and listens."""

import importlib
import os
import threading
import time
import warnings
from contextlib import contextmanager
from importlib.util import find_spec

import numpy as np
import pytest

TIMEOUT_S = 60.0
NODE = "/segmenter"

NEEDED = {
    "rclpy": "run scripts/setup, or source a ROS 2 installation",
    "semla_ros.msg": "run scripts/setup, then source scripts/ros_env",
    "vision_msgs": "run scripts/setup, then source scripts/ros_env",
}
MISSING = [f"{m} is missing: {why}" for m, why in NEEDED.items() if find_spec(m) is None]
ROS_TESTS = "test_ros_*.py"


class Unavailable(pytest.Module):
    """Stands for a test module that cannot be imported here."""

    def collect(self):
        raise pytest.skip.Exception("; ".join(MISSING), allow_module_level=True)


def pytest_pycollect_makemodule(module_path, parent):
    if MISSING and module_path.match(ROS_TESTS):
        return Unavailable.from_parent(parent, path=module_path)
    return None


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.match(f"nodes/{ROS_TESTS}"):
            item.add_marker(pytest.mark.ros)


@pytest.fixture(scope="session", autouse=True)
def _own_domain():
    """Keep this session's messages on this machine and apart from anybody else's."""
    os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    if not MISSING:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an old parser inside ROS's interface generator
            importlib.import_module("rosidl_generator_py")


def wait_for(condition, what, timeout_s=TIMEOUT_S):
    """Return the first true value of `condition()`, or fail naming what did not happen."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    pytest.fail(f"not within {timeout_s:g} s: {what}")


class Robot:
    """A running `SegmenterNode` and a peer node, each spinning in a thread of its own."""

    def __init__(self, node, peer, image_type):
        self.node = node
        self.peer = peer
        self.received = {}
        self.camera = peer.create_publisher(image_type, self.topic(image_type), 10)

    @staticmethod
    def topic(image_type):
        compressed = image_type.__name__ == "CompressedImage"
        return "/camera/image_raw" + ("/compressed" if compressed else "")

    def listen(self, name, kind, *, latched=False):
        """Return the growing list of messages on one of the node's topics."""
        from semla_ros.nodes import qos

        heard = self.received.setdefault(name, [])
        topic = name if name.startswith("/") else f"{NODE}/{name}"
        profile = qos.latched_qos() if latched else qos.output_qos()
        profile.depth = 50
        self.peer.create_subscription(kind, topic, heard.append, profile)
        wait_for(lambda: self.peer.count_publishers(topic), f"a publisher of {topic}")
        return heard

    def wait_until_active(self):
        wait_for(lambda: self.node.state == "active", "the node is active")
        wait_for(lambda: self.camera.get_subscription_count(), "the node subscribes the camera")

    def send(self, message, until=None, what="an answer"):
        """Send `message` once, or again and again until `until()`; discovery takes its time."""
        self.camera.publish(message)
        if until is None:
            return
        end = time.monotonic() + TIMEOUT_S
        while not until():
            if time.monotonic() > end:
                pytest.fail(f"no {what} within {TIMEOUT_S:g} s")
            time.sleep(0.05)
            self.camera.publish(message)

    def call(self, kind, name, request):
        """Return the answer of one of the node's services."""
        client = self.peer.create_client(kind, f"{NODE}/{name}")
        assert client.wait_for_service(TIMEOUT_S), f"service {name} is there"
        future = client.call_async(request)
        wait_for(future.done, f"an answer of {name}")
        return future.result()

    def set_parameter(self, name, value):
        """Return (successful, reason) of setting one parameter through its service."""
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        parameter = Parameter(name, value=value).to_parameter_msg()
        request = SetParameters.Request(parameters=[parameter])
        (result,) = self.call(SetParameters, "set_parameters", request).results
        return result.successful, result.reason

    def transition(self, label):
        """Return whether a lifecycle transition, asked for through its service, succeeded."""
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        request = ChangeState.Request(transition=Transition(label=label))
        return self.call(ChangeState, "change_state", request).success

    def diagnosed(self, part, condition, what):
        """Return the first status `part` that satisfies `condition`, values as a dictionary."""
        from diagnostic_msgs.msg import DiagnosticArray

        if "/diagnostics" not in self.received:
            self.listen("/diagnostics", DiagnosticArray)

        def found():
            for array in list(self.received["/diagnostics"]):
                for status in array.status:
                    facts = {v.key: v.value for v in status.values}
                    if status.name.endswith(f": {part}") and condition(status, facts):
                        return status, facts
            return None

        return wait_for(found, what)


@contextmanager
def running(executor):
    """Spin `executor` in a thread."""
    stop = threading.Event()

    def spin():
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.05)

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        executor.shutdown()


@pytest.fixture
def robot(tiny):
    """Return a context manager that starts a node with parameters, given as keywords."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from sensor_msgs.msg import CompressedImage, Image

    @contextmanager
    def start(*, active=True, extra=(), **parameters):
        from semla_ros.nodes.segmenter_node import SegmenterNode

        defaults = {"bundle": str(tiny.root), "engine": "fake", "diagnostics_period_s": 0.1}
        arguments = ["--ros-args", "-r", "image:=/camera/image_raw", *extra]
        for name, value in (defaults | parameters).items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            arguments += ["-p", f"{name}:={text}"]
        rclpy.init(args=arguments)
        node = SegmenterNode()
        peer = rclpy.create_node("peer", use_global_arguments=False)
        executors = [SingleThreadedExecutor(), SingleThreadedExecutor()]
        for executor, each in zip(executors, (node, peer), strict=True):
            executor.add_node(each)
        compressed = parameters.get("image_transport") == "compressed"
        try:
            with running(executors[1]):
                robot = Robot(node, peer, CompressedImage if compressed else Image)
                node.start()
                with running(executors[0]):
                    if active:
                        robot.wait_until_active()
                    yield robot
        finally:
            node.close()
            node.destroy_node()
            peer.destroy_node()
            rclpy.try_shutdown()

    return start


def image(pixels, *, stamp=(100, 7), frame_id="camera_optical", encoding="rgb8", **changes):
    """Return an image message; `changes` spoil it."""
    from builtin_interfaces.msg import Time
    from std_msgs.msg import Header

    from semla_ros.nodes.conversions import image_message

    header = Header(stamp=Time(sec=stamp[0], nanosec=stamp[1]), frame_id=frame_id)
    message = image_message(header, pixels, encoding)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


@pytest.fixture
def make_image():
    return image


@pytest.fixture
def wait():
    return wait_for


@pytest.fixture(scope="session")
def scene():
    """Return an image (48, 64, 3) whose colours give the fake engine several classes."""
    rgb = np.zeros((48, 64, 3), np.uint8)
    rgb[:16] = (90, 140, 230)
    rgb[16:32, :32] = (60, 160, 60)
    rgb[16:32, 32:] = (200, 200, 200)
    rgb[32:] = (70, 70, 70)
    return rgb
