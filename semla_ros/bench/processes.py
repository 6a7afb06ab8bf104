"""The node and the stopwatch as processes, as on a robot: real messages over real DDS."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from semla_ros.bench.frames import CAMERA
from semla_ros.bench.orders import Order, Peer
from semla_ros.core.config import PARAMETERS
from semla_ros.core.errors import ConfigError, SemlaError
from semla_ros.processes.children import Processes
from semla_ros.processes.drive import DDS_PROFILE, DriveRequest, node_command, node_environment

MIDDLEWARE: Mapping[str, str] = MappingProxyType(
    {
        "shm": "Fast DDS with the package's profile: shared memory of 32 MiB",
        "default": "Fast DDS as it comes",
        "large_data": "Fast DDS with FASTDDS_BUILTIN_TRANSPORTS=LARGE_DATA",
    }
)
_START_S = 60.0


@dataclass(frozen=True, slots=True)
class Setup:
    """One way to run the node.

    Attributes:
        transport: `raw` or `compressed` images.
        executor: `single`, `multi` or `events`.
        middleware: A key of `MIDDLEWARE`.
    """

    transport: str
    executor: str
    middleware: str

    def __str__(self) -> str:
        return f"{self.transport}, {self.executor}, {self.middleware}"


def setups_of(
    transports: Sequence[str], executors: Sequence[str], middlewares: Sequence[str]
) -> tuple[Setup, ...]:
    """Return the first of each together, then every other choice alone beside those.

    Raises:
        ConfigError: A choice that does not exist.
    """
    _check("transport", transports, PARAMETERS["image_transport"].choices)
    _check("executor", executors, PARAMETERS["executor"].choices)
    _check("middleware", middlewares, tuple(MIDDLEWARE))
    first = Setup(transports[0], executors[0], middlewares[0])
    return (
        first,
        *(replace(first, transport=each) for each in transports[1:]),
        *(replace(first, executor=each) for each in executors[1:]),
        *(replace(first, middleware=each) for each in middlewares[1:]),
    )


def _check(name: str, given: Sequence[str], choices: Sequence[str]) -> None:
    wrong = [each for each in given if each not in choices]
    if wrong or not given:
        raise ConfigError(f"expected {name} of {tuple(choices)!r}, got {wrong!r}")


class LiveNode:
    """A running node and the stopwatch beside it.

    Attributes:
        pid: Process id of the node.
    """

    def __init__(
        self, processes: Processes, node: Sequence[str], camera: Path, topic: str
    ) -> None:
        """Start both and wait for the node to serve.

        Raises:
            SemlaError: It does not, or a process ended.
        """
        self._node = processes.start("node", node)
        words = [sys.executable, "-m", "semla_ros.bench.stopwatch", str(camera), "--to", topic]
        self._watch = Peer(processes, "stopwatch", words)
        self.pid = self._node.pid
        self._ask({"do": "connect", "timeout_s": _START_S})

    def play(
        self, *, hz: float, seconds: float, mixes: Sequence[Mapping[str, float]] = ()
    ) -> dict[str, Any]:
        """Return the stopwatch's record of playing so long at that rate.

        Args:
            hz: Frames per second.
            seconds: How long.
            mixes: Pinned in turns meanwhile, each as soon as the one before serves.

        Raises:
            SemlaError: A process ended.
        """
        frames = max(3, round(hz * seconds))
        order = {"do": "play", "hz": hz, "frames": frames, "mixes": [dict(m) for m in mixes]}
        return self._ask(order)

    def follow(self) -> None:
        """Let the node follow the scene again.

        Raises:
            SemlaError: It refuses.
        """
        answer = self._ask({"do": "select", "mode": 0})
        if not answer["success"]:
            raise SemlaError(f"the node does not follow the scene: {answer['message']}")

    def _ask(self, order: Order) -> dict[str, Any]:
        return self._watch.ask(order, while_=self._alive, timeout_s=math.inf)

    def _alive(self) -> bool:
        return self._node.poll() is None


@contextmanager
def live_node(
    camera: Path, setup: Setup, *, changes: Mapping[str, object], logs: Path
) -> Iterator[LiveNode]:
    """Run the node and the stopwatch in a domain of their own while the context is open.

    Args:
        camera: Recording that the stopwatch plays.
        setup: How.
        changes: Parameters of the node.
        logs: Folder for what the processes say.

    Raises:
        SemlaError: The node does not come up.
    """
    wanted = dict(changes) | {"image_transport": setup.transport, "executor": setup.executor}
    node = node_command(DriveRequest(changes=wanted, image=CAMERA))
    topic = CAMERA + ("/compressed" if setup.transport == "compressed" else "")
    with Processes(logs, _environment(setup.middleware)) as processes:
        yield LiveNode(processes, node, camera, topic)


@contextmanager
def live_relay(camera: Path, middleware: str, *, logs: Path) -> Iterator[LiveNode]:
    """Run a process that answers raw images at once in the node's place, see `bench.relay`.

    Raises:
        SemlaError: It does not come up.
    """
    relay = [sys.executable, "-m", "semla_ros.bench.relay", "--ros-args", "-r", f"image:={CAMERA}"]
    with Processes(logs, _environment(middleware)) as processes:
        yield LiveNode(processes, relay, camera, CAMERA)


def _environment(middleware: str) -> dict[str, str]:
    environment = node_environment()
    if middleware != "shm":
        environment.pop(DDS_PROFILE, None)
    if middleware == "large_data":
        environment["FASTDDS_BUILTIN_TRANSPORTS"] = "LARGE_DATA"
    environment["ROS_DOMAIN_ID"] = str(random.randint(1, 100))
    environment.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    return environment
