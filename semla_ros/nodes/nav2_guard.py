"""Stops Nav2 while there is no usable image: what the costmap still calls free is not known then.

    ros2 run semla_ros nav2_guard --ros-args -r support:=/segmenter/support

The costmap layer never resets a cell, and Nav2's controllers drive over what is free and over what
is unknown. So while the support is STALE, or silent because the segmenter is gone, every goal is
cancelled, again and again; and once the layer has forgotten its last observations the costmap is
cleared, so that old road is not there when driving goes on.
"""

from __future__ import annotations

import importlib
import math
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from action_msgs.srv import CancelGoal
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.client import Client
from rclpy.exceptions import NameValidationException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.task import Future

from semla_ros.core.errors import ConfigError, EngineUnavailableError, SemlaError
from semla_ros.msg import SupportScore
from semla_ros.nodes import qos
from semla_ros.nodes.parameters import take_overrides, unknown_overrides
from semla_ros.nodes.signals import ros_process, spin_until

ACTIONS = ["/navigate_to_pose", "/navigate_through_poses"]
CLEAR = "/local_costmap/clear_entirely_local_costmap"
PERIOD_S = 0.2
ASK_AGAIN_S = 2.0
"""How long the costmap's answer is waited for before it is asked to clear once more."""
_DEFAULTS: Mapping[str, object] = {
    "silence_s": 2.0,
    "clear_after_s": 2.0,
    "actions": ACTIONS,
    "clear_service": CLEAR,
}


class Nav2Guard(Node):
    """Watches `support`; cancels goals and clears the costmap while it is STALE or silent.

    Parameters: `silence_s`, how long no support may come; `clear_after_s`, how long after that
    the costmap is cleared, no less than the layer's tile_map_decay_time; `actions` and
    `clear_service`, Nav2's names, which carry its namespace.
    """

    def __init__(self, clear_type: type[Any]) -> None:
        """Take the parameters and watch; `clear_type` is nav2_msgs' ClearEntireCostmap.

        Raises:
            ConfigError: A parameter has a wrong value.
        """
        super().__init__("nav2_guard", automatically_declare_parameters_from_overrides=True)
        values = self._parameters_given()
        self._silence_s = _seconds("silence_s", values["silence_s"])
        self._clear_after_s = _seconds("clear_after_s", values["clear_after_s"], or_zero=True)
        self._cancels: list[Client[Any, Any]] = [
            self.create_client(CancelGoal, f"{each}/_action/cancel_goal")
            for each in _names("actions", values["actions"])
        ]
        service = _name("clear_service", values["clear_service"])
        self._clear: Client[Any, Any] = self.create_client(clear_type, service)
        self._clear_type = clear_type
        self._heard = time.monotonic()
        self._stale = False
        self._since: float | None = None
        self._cleared = False
        self._asked = -math.inf
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
            self._since, self._cleared, self._asked = None, False, -math.inf
            return
        if self._since is None:
            self._since = now
            why = "no support is published" if silent else "support is STALE"
            self.get_logger().error(f"{why}: cancelling every goal until images are usable again")
        for cancel in self._cancels:
            self._ask(cancel, CancelGoal.Request())  # an empty request means every goal
        due = now - self._since >= self._clear_after_s and now - self._asked >= ASK_AGAIN_S
        if due and not self._cleared:
            self._forget_road(now, self._since)

    def _forget_road(self, now: float, since: float) -> None:
        """Ask for a clear costmap; it counts as cleared once that is answered."""

        def answered(answer: Future[Any]) -> None:
            if since == self._since and answer.exception() is None:
                self._cleared = True

        asked = self._ask(self._clear, self._clear_type.Request())
        if asked is not None:
            self._asked = now
            asked.add_done_callback(answered)

    def _ask(self, client: Client[Any, Any], request: object) -> Future[Any] | None:
        """Send a request where somebody serves it; return the answer to come, else None."""
        return client.call_async(request) if client.service_is_ready() else None

    def _parameters_given(self) -> dict[str, object]:
        """Return every parameter's value, declared read-only; tell of those given in vain."""
        given = take_overrides(self)
        for reason in unknown_overrides(given, _DEFAULTS).values():
            self.get_logger().error(f"{reason}: ignored")
        values = {n: given[n].value if n in given else v for n, v in _DEFAULTS.items()}
        read_only = ParameterDescriptor(read_only=True)
        for name, value in values.items():
            self.declare_parameter(name, value, read_only, ignore_override=True)
        return values


def _seconds(name: str, value: object, *, or_zero: bool = False) -> float:
    """Return a duration in s; `or_zero`: 0 is one, too."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value)
        if math.isfinite(seconds) and (seconds > 0 or (or_zero and seconds == 0)):
            return seconds
    least = "0 or more" if or_zero else "more than 0"
    raise ConfigError(f"parameter {name!r}: expected seconds, {least}, got {value!r}")


def _names(name: str, value: object) -> list[str]:
    """Return several names, at least one."""
    if not isinstance(value, list) or not value:
        raise ConfigError(f"parameter {name!r}: expected a list of names, got {value!r}")
    return [_name(name, each) for each in value]


def _name(name: str, value: object) -> str:
    """Return the name of an action or service."""
    if not isinstance(value, str) or not value:
        raise ConfigError(f"parameter {name!r}: expected a name, got {value!r}")
    return value


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
        try:
            guard = Nav2Guard(kind)
        except (SemlaError, NameValidationException) as error:
            sys.stderr.write(f"{' '.join(str(error).split())}\n")
            return 1
        executor = SingleThreadedExecutor()
        executor.add_node(guard)
        try:
            spin_until(lambda: bool(stop), executor)
        finally:
            executor.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
