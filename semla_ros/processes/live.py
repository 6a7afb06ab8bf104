"""Runs node, camera and recorder as three processes over real ROS 2 topics."""

from __future__ import annotations

import json
import logging
import math
import random
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tqdm import tqdm

from semla_ros.core.errors import SemlaError
from semla_ros.data.bags.messages import COMPRESSED_IMAGE
from semla_ros.data.bags.reader import choose_topic
from semla_ros.data.bags.recording import read_serialized
from semla_ros.evaluation.live_result import CAMERA, NODE, RECORDED
from semla_ros.processes.children import Processes, stop_process
from semla_ros.processes.drive import DriveRequest, node_command, node_environment

logger = logging.getLogger(__name__)

MASK = f"{NODE}/mask"
CONFIDENCE = f"{NODE}/confidence"
GRACE_S = 20.0
_MODULES = "semla_ros.processes"


@dataclass(frozen=True, slots=True)
class LiveRun:
    """What one live run left behind.

    Attributes:
        recording: The mcap with every topic.
        sent: Header stamps of the images that the camera published, ns.
    """

    recording: Path
    sent: tuple[int, ...]


class LiveNode:
    """A running node that recordings are played into, one after the other; a context manager."""

    def __init__(
        self, logs: Path, *, changes: Mapping[str, object] | None = None, compressed: bool = False
    ) -> None:
        """Start it.

        Args:
            logs: Folder for what the processes say.
            changes: Parameters that differ from the default.
            compressed: The camera's images come compressed.
        """
        environment = node_environment() | {"ROS_DOMAIN_ID": str(random.randint(10, 100))}
        environment.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        transport = {"image_transport": "compressed" if compressed else "raw"}
        request = DriveRequest(changes=transport | dict(changes or {}), image=CAMERA)
        self._published = CAMERA + "/compressed" if compressed else CAMERA
        self._processes = Processes(logs, environment)
        self._node = self._processes.start("node", node_command(request))

    def __enter__(self) -> LiveNode:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._processes.stop()
        if kind is None:
            self._check("node", self._node)

    def play(
        self,
        camera: Path,
        out: Path,
        *,
        seconds: float | None = None,
        topic: str | None = None,
        reload_after_s: float | None = None,
    ) -> LiveRun:
        """Play the recording `camera` in real time and record everything into `out`.

        Args:
            camera: A recording.
            out: The mcap to write.
            seconds: How long the recording lasts, None to look it up.
            topic: Image topic of the recording, None for the only one.
            reload_after_s: When `~/reload_library` is called, s after the camera's process
                started; None: never.

        Raises:
            SemlaError: A process ended with an error, its last lines say why; or the library was
                not reloaded.
        """
        name = choose_topic(camera, topic).name
        if seconds is None:
            seconds = _length_s(camera, name)
        sent = self._processes.logs / "player.json"
        record = [sys.executable, "-m", f"{_MODULES}.recorder", str(out)]
        record += [f"{NODE}/{each}" for each in RECORDED] + ["/diagnostics"]
        record += ["--last", self._published]
        play = [sys.executable, "-m", f"{_MODULES}.player", str(camera), "--to", self._published]
        play += ["--topic", name, "--subscribers", "2", "--wait", "60", "--report", str(sent)]
        recorder = self._processes.start("recorder", record)
        player = self._processes.start("player", play)
        try:
            reloaded = self._wait(player, seconds, reload_after_s)
        except SemlaError as error:
            raise SemlaError(f"{error}; {self._processes.said()}") from error
        time.sleep(1.0)  # the last frame is still on its way through the node
        stop_process(recorder)
        self._check("recorder", recorder)
        if reloaded is not None:
            stop_process(reloaded)
            self._check("trigger", reloaded)
        stamps = json.loads(sent.read_text(encoding="utf-8"))["stamps_ns"]
        return LiveRun(out, tuple(int(s) for s in stamps))

    def _wait(
        self, player: subprocess.Popen[bytes], seconds: float, reload_after_s: float | None
    ) -> subprocess.Popen[bytes] | None:
        """Show the drive's progress until the player ends; return the process that reloads.

        Raises:
            SemlaError: The player failed or hangs.
        """
        start, reloads = time.monotonic(), None
        with tqdm(total=math.ceil(seconds), desc="live", unit="s", mininterval=5.0) as bar:
            while player.poll() is None:
                passed = time.monotonic() - start
                if passed > seconds + 60.0 + GRACE_S:
                    raise SemlaError(f"the camera did not finish its {seconds:g} s in time")
                if reload_after_s is not None and reloads is None and passed >= reload_after_s:
                    words = [sys.executable, "-m", f"{_MODULES}.trigger"]
                    reloads = self._processes.start("trigger", [*words, f"{NODE}/reload_library"])
                time.sleep(1.0)
                bar.update(1)
        if player.returncode:
            raise SemlaError(f"the camera process ended with code {player.returncode}: see logs/")
        return reloads

    def _check(self, name: str, process: subprocess.Popen[bytes]) -> None:
        """Check that a process that was ended ended well.

        Raises:
            SemlaError: It did not; its last lines say why.
        """
        if process.returncode:
            raise SemlaError(
                f"the {name} process ended with code {process.returncode}: "
                f"{self._processes.last_words(name)}"
            )


def play_live(
    camera: Path,
    out: Path,
    *,
    seconds: float | None = None,
    topic: str | None = None,
    changes: Mapping[str, object] | None = None,
) -> LiveRun:
    """Play the recording `camera` into a node of its own and record everything into `out`.

    Args:
        camera: A recording, played in real time.
        out: The mcap to write.
        seconds: How long the recording lasts, None to look it up.
        topic: Image topic of the recording, None for the only one.
        changes: Parameters of the node that differ from the default.

    Raises:
        SemlaError: A process ended with an error; its last lines say why.
    """
    compressed = choose_topic(camera, topic).msgtype == COMPRESSED_IMAGE
    with LiveNode(out.parent / "logs", changes=changes, compressed=compressed) as node:
        return node.play(camera, out, seconds=seconds, topic=topic)


def _length_s(recording: Path, topic: str) -> float:
    recorded = [message.recorded_ns for message in read_serialized(recording, topic=topic)]
    return (max(recorded) - min(recorded)) * 1e-9 if recorded else 0.0
