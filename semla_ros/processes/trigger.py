"""Calls a service of type `std_srvs/srv/Trigger` and says what it answered.

    python -m semla_ros.processes.trigger /segmenter/reload_library

What `ros2 service call` does, where there is no `ros2`. Exit codes: 0, 1 for "no" and for errors.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable, Sequence

import rclpy
from rclpy.client import Client
from rclpy.node import Node
from std_srvs.srv import Trigger

from semla_ros.core.errors import SemlaError
from semla_ros.nodes.signals import POLL_S, StopFlag, ros_process

_log = logging.getLogger(__name__)


def call(service: str, *, timeout_s: float, stop: StopFlag) -> Trigger.Response:
    """Return what `service` answered.

    Raises:
        SemlaError: It did not come, or did not answer, within `timeout_s` s, or `stop` came first.
    """
    node = Node("semla_trigger", start_parameter_services=False)
    try:
        client: Client[Trigger.Request, Trigger.Response] = node.create_client(Trigger, service)
        end = time.monotonic() + timeout_s

        def until(done: Callable[[], bool], step: Callable[[], object], what: str) -> None:
            while not done():
                if stop or time.monotonic() > end:
                    raise SemlaError(f"expected {service!r} to {what} within {timeout_s:g} s")
                step()

        until(client.service_is_ready, lambda: client.wait_for_service(POLL_S), "be there")
        future = client.call_async(Trigger.Request())
        until(
            future.done,
            lambda: rclpy.spin_until_future_complete(node, future, timeout_sec=POLL_S),
            "answer",
        )
        answer: Trigger.Response = future.result()
        return answer
    finally:
        node.destroy_node()


def main(argv: Sequence[str] | None = None) -> int:
    """Call a service; return the exit code."""
    parser = argparse.ArgumentParser(prog="semla_ros.processes.trigger", description=__doc__)
    parser.add_argument("service", help="absolute name")
    parser.add_argument("--wait", type=float, default=30.0, help="at most so long [s]")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        with ros_process() as stop:
            answer = call(args.service, timeout_s=args.wait, stop=stop)
    except SemlaError as error:
        _log.error("%s", error)
        return 1
    _log.info("%s", answer.message)
    return 0 if answer.success else 1


if __name__ == "__main__":
    sys.exit(main())
