"""Stops Nav2 while there is no usable image: what the costmap still calls free is not known then.

    ros2 run semla_ros nav2_guard --ros-args -r support:=/segmenter/support

The costmap layer never resets a cell, and Nav2's controllers drive over what is free and over what
is unknown. So while the support is STALE, or silent because the segmenter is gone, every goal is
cancelled, again and again; and once the layer has forgotten its last observations the costmap is
cleared, so that old road is not there when driving goes on.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Sequence
from typing import Any

from action_msgs.srv import CancelGoal
from rclpy.client import Client
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from semla_ros.core.errors import EngineUnavailableError, SemlaError
from semla_ros.msg import SupportScore
from semla_ros.nodes import qos
from semla_ros.nodes.signals import ros_process, spin_until

ACTIONS = ["/navigate_to_pose", "/navigate_through_poses"]
CLEAR = "/local_costmap/clear_entirely_local_costmap"
PERIOD_S = 0.2


class Nav2Guard(Node):
    """Watches `support`; cancels goals and clears the costmap while it is STALE or silent.

    Parameters: `silence_s`, how long no support may come; `clear_after_s`, how long after that
    the costmap is cleared, no less than the layer's tile_map_decay_time; `actions` and
    `clear_service`, Nav2's names, which carry its namespace.
    """

    def __init__(self, clear_type: type[Any]) -> None:
        """Take the parameters and watch; `clear_type` is nav2_msgs' ClearEntireCostmap."""
        super().__init__("nav2_guard")
        declare = self.declare_parameter
        self._silence_s = float(declare("silence_s", 2.0).value)
        self._clear_after_s = float(declare("clear_after_s", 2.0).value)
        actions: list[str] = declare("actions", ACTIONS).value
        self._cancels: list[Client[Any, Any]] = [
            self.create_client(CancelGoal, f"{each}/_action/cancel_goal") for each in actions
        ]
        service = str(declare("clear_service", CLEAR).value)
        self._clear: Client[Any, Any] = self.create_client(clear_type, service)
        self._clear_type = clear_type
        self._heard = time.monotonic()
        self._stale = False
        self._since: float | None = None
        self._cleared = False
        self.create_subscription(SupportScore, "support", self._hear, qos.output_qos())
        self.create_timer(PERIOD_S, self._look)

    def _hear(self, support: SupportScore) -> None:
        self._heard, self._stale = time.monotonic(), support.level == SupportScore.STALE

    def _look(self) -> None:
        now = time.monotonic()
        silent = now - self._heard > self._silence_s
        if not (self._stale or silent):
            if self._since is not None:
                self.get_logger().info("images are usable again: goals are no longer cancelled")
            self._since, self._cleared = None, False
            return
        if self._since is None:
            self._since = now
            why = "no support is published" if silent else "support is STALE"
            self.get_logger().error(f"{why}: cancelling every goal until images are usable again")
        for cancel in self._cancels:
            self._ask(cancel, CancelGoal.Request())  # an empty request means every goal
        if not self._cleared and now - self._since >= self._clear_after_s:
            self._cleared = self._ask(self._clear, self._clear_type.Request())

    def _ask(self, client: Client[Any, Any], request: object) -> bool:
        """Send a request where somebody serves it; return whether it was sent."""
        if not client.service_is_ready():
            return False
        client.call_async(request)
        return True


def clear_type() -> type[Any]:
    """Return the type of Nav2's clearing service.

    Raises:
        EngineUnavailableError: Nav2's messages are missing.
    """
    try:
        kind: type[Any] = importlib.import_module("nav2_msgs.srv").ClearEntireCostmap
    except ModuleNotFoundError as error:
        raise EngineUnavailableError(
            "nav2_guard needs nav2_msgs, which this Python lacks: install "
            "ros-$ROS_DISTRO-nav2-msgs and source ROS 2"
        ) from error
    return kind


def main(argv: Sequence[str] | None = None) -> int:
    """Guard until SIGINT or SIGTERM; return the exit code."""
    try:
        kind = clear_type()
    except SemlaError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    with ros_process(argv) as stop:
        executor = SingleThreadedExecutor()
        executor.add_node(Nav2Guard(kind))
        try:
            spin_until(lambda: bool(stop), executor)
        finally:
            executor.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
