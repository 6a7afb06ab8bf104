"""Orders to a process, one JSON object a line on its stdin, and its answers on its stdout."""

from __future__ import annotations

import json
import logging
import select
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from semla_ros.core.errors import SemlaError
from semla_ros.processes.children import Processes, stop_process

if TYPE_CHECKING:
    from rclpy.node import Node

Order = Mapping[str, Any]
Action = Callable[[Order], Order]

_LOG = logging.getLogger(__name__)
_LOOK_S = 0.5


class Peer:
    """A running process that takes orders; each waits for its answer.

    Attributes:
        process: The process.
    """

    def __init__(self, processes: Processes, name: str, command: Sequence[str]) -> None:
        """Start it."""
        self.process = processes.start(name, command, piped=True)
        self._processes = processes

    def ask(self, order: Order, *, while_: Callable[[], bool], timeout_s: float) -> dict[str, Any]:
        """Return the answer to `order`.

        Args:
            order: Its key `do` names the action.
            while_: Whether waiting still makes sense.
            timeout_s: For the answer, at most.

        Raises:
            SemlaError: It ended or hangs, or `while_` came to an end.
        """
        stdin, stdout = self.process.stdin, self.process.stdout
        if stdin is None or stdout is None:
            raise SemlaError("expected a process with pipes")
        end = time.monotonic() + timeout_s
        try:
            stdin.write(json.dumps(order).encode() + b"\n")
            stdin.flush()
        except OSError:
            raise self._ended() from None
        while not select.select([stdout], [], [], _LOOK_S)[0]:
            if not while_() or time.monotonic() > end:
                raise self._ended()
        line = stdout.readline()
        if not line:
            raise self._ended()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End it."""
        stop_process(self.process)

    def _ended(self) -> SemlaError:
        return SemlaError(f"a process ended or hangs; {self._processes.said()}")


def serve(
    make: Callable[[], tuple[Node, Mapping[str, Action]]],
    *beside: Callable[[Any, threading.Event], None],
) -> int:
    """Be a process that takes orders until its stdin ends; return the exit code.

    Args:
        make: Returns a node, whose callbacks have a thread of their own, and its actions.
        beside: What runs in a thread besides, given the node and when to end.
    """
    from semla_ros.nodes.executors import fastest_executor
    from semla_ros.nodes.signals import ros_process, spin_until

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        with ros_process():  # Ctrl-C is for whoever gives the orders: it closes stdin
            executor, ended = fastest_executor(), threading.Event()
            node, actions = make()
            executor.add_node(node)
            threads = [threading.Thread(target=spin_until, args=(ended.is_set, executor))]
            threads += [threading.Thread(target=each, args=(node, ended)) for each in beside]
            for thread in threads:
                thread.start()
            try:
                for line in sys.stdin:
                    order = json.loads(line)
                    sys.stdout.write(json.dumps(actions[order["do"]](order)) + "\n")
                    sys.stdout.flush()
            finally:
                ended.set()
                for thread in threads:
                    thread.join()
                executor.shutdown()
    except SemlaError as error:
        _LOG.error("%s", error)
        return 1
    return 0
