"""The garbage collector leaves the model alone while it serves, and takes it afterwards."""

import gc

import pytest

pytest.importorskip("rclpy", reason="needs rclpy: source a ROS 2 installation, or scripts/ros_env")
pytestmark = pytest.mark.ros


@pytest.fixture(autouse=True)
def thawed():
    gc.unfreeze()
    yield
    gc.unfreeze()


def test_what_lives_as_long_as_the_model_is_frozen_after_warm_up(robot):
    with robot() as started:
        frozen = gc.get_freeze_count()
        assert frozen > 10_000, "the imported modules alone are more"
        young = sum(len(gc.get_objects(generation)) for generation in range(3))
        assert young < frozen, "the collector walks over little"
        assert started.node.state == "active"


def test_a_released_model_can_be_collected(robot):
    with robot() as started:
        assert gc.get_freeze_count()
        started.node.trigger_deactivate()
        started.node.trigger_cleanup()
        assert gc.get_freeze_count() == 0


def test_the_library_freezes_nothing(tiny):
    from semla_ros.core.config import Config, updated
    from semla_ros.pipeline import build_pipeline

    config = updated(Config(), {"bundle": str(tiny.root), "engine": "fake"})
    with build_pipeline(config):
        assert gc.get_freeze_count() == 0
