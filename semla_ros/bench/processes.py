"""The node and the stopwatch as processes, as on a robot: real messages over real DDS."""

from __future__ import annotations

import json
import logging
import random
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from semla_ros.bench.frames import CAMERA
from semla_ros.children import start_child
from semla_ros.config import PARAMETERS
from semla_ros.drive import DDS_PROFILE, DriveRequest, node_command, node_environment
from semla_ros.errors import ConfigError, SemlaError

_LOG = logging.getLogger(__name__)

MIDDLEWARE: Mapping[str, str] = MappingProxyType(
    {
        "shm": "Fast DDS with the package's profile: shared memory of 32 MiB",
        "default": "Fast DDS as it comes",
        "large_data": "Fast DDS with FASTDDS_BUILTIN_TRANSPORTS=LARGE_DATA",
    }
)
_GRACE_S = 20.0
_LOOK_S = 0.5
_STOPWATCH = "semla_ros.bench.stopwatch"
_RELAY = "semla_ros.bench.relay"


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
        self, node: subprocess.Popen[bytes], stopwatch: subprocess.Popen[bytes], logs: Path
    ) -> None:
        self.pid = node.pid
        self._node = node
        self._stopwatch = stopwatch
        self._logs = logs

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
        return self.ask(order)

    def follow(self) -> None:
        """Let the node follow the scene again.

        Raises:
            SemlaError: It refuses.
        """
        answer = self.ask({"do": "select", "mode": 0})
        if not answer["success"]:
            raise SemlaError(f"the node does not follow the scene: {answer['message']}")

    def ask(self, order: Mapping[str, object]) -> dict[str, Any]:
        """Return the stopwatch's answer to `order`.

        Raises:
            SemlaError: A process ended.
        """
        stdin, stdout = self._pipes()
        try:
            stdin.write(json.dumps(order).encode() + b"\n")
            stdin.flush()
        except OSError:
            raise self._ended() from None
        return self._answer(stdout)

    def ready(self) -> None:
        """Wait for the node to serve.

        Raises:
            SemlaError: It does not, or a process ended.
        """
        self._answer(self._pipes()[1])

    def _answer(self, stdout: IO[bytes]) -> dict[str, Any]:
        while not select.select([stdout], [], [], _LOOK_S)[0]:
            if self._node.poll() is not None:
                raise self._ended()
        line = stdout.readline()
        if not line:
            raise self._ended()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        stdin, stdout = self._stopwatch.stdin, self._stopwatch.stdout
        if stdin is None or stdout is None or self._node.poll() is not None:
            raise self._ended()
        return stdin, stdout

    def _ended(self) -> SemlaError:
        said = [
            f"{name} says: {' / '.join(_tail(self._logs / f'{name}.log'))}"
            for name in ("node", "stopwatch")
        ]
        return SemlaError(f"a process of the benchmark ended; {'; '.join(said)}")


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
    with _timed(node, camera, topic, middleware=setup.middleware, logs=logs) as live:
        yield live


@contextmanager
def live_relay(camera: Path, middleware: str, *, logs: Path) -> Iterator[LiveNode]:
    """Run a process that answers raw images at once in the node's place, see `bench.relay`.

    Raises:
        SemlaError: It does not come up.
    """
    relay = [sys.executable, "-m", _RELAY, "--ros-args", "-r", f"image:={CAMERA}"]
    with _timed(relay, camera, CAMERA, middleware=middleware, logs=logs) as live:
        yield live


@contextmanager
def _timed(
    node: Sequence[str], camera: Path, topic: str, *, middleware: str, logs: Path
) -> Iterator[LiveNode]:
    environment = _environment(middleware)
    logs.mkdir(parents=True, exist_ok=True)
    stopwatch = [sys.executable, "-m", _STOPWATCH, str(camera), "--to", topic]
    with (
        _process(node, environment, logs / "node.log") as segmenter,
        _process(stopwatch, environment, logs / "stopwatch.log", piped=True) as watch,
    ):
        live = LiveNode(segmenter, watch, logs)
        live.ready()
        yield live


def _environment(middleware: str) -> dict[str, str]:
    environment = node_environment()
    if middleware != "shm":
        environment.pop(DDS_PROFILE, None)
    if middleware == "large_data":
        environment["FASTDDS_BUILTIN_TRANSPORTS"] = "LARGE_DATA"
    environment["ROS_DOMAIN_ID"] = str(random.randint(1, 100))
    environment.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    return environment


@contextmanager
def _process(
    command: Sequence[str], environment: Mapping[str, str], log: Path, *, piped: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    pipe = subprocess.PIPE if piped else None
    with log.open("wb") as sink:
        process = start_child(
            command, env=dict(environment), stdin=pipe, stdout=pipe or sink, stderr=sink
        )
    try:
        yield process
    finally:
        stop_process(process)


def stop_process(process: subprocess.Popen[bytes]) -> None:
    """Close its stdin, or send SIGINT where it has none, and wait; killed if it does not end."""
    if process.stdin is not None:
        process.stdin.close()  # ends the stopwatch
    elif process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        _LOG.warning("process %d does not end and is killed: %s", process.pid, process.args)
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _tail(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()[-6:]
