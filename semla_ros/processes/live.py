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

from tqdm import tqdm

from semla_ros.core.errors import SemlaError
from semla_ros.data.bags.messages import COMPRESSED_IMAGE
from semla_ros.data.bags.reader import choose_topic
from semla_ros.data.bags.recording import read_serialized
from semla_ros.evaluation.live_result import CAMERA, NODE, RECORDED
from semla_ros.processes.children import Processes
from semla_ros.processes.drive import DriveRequest, node_command, node_environment

logger = logging.getLogger(__name__)

MASK = f"{NODE}/mask"
CONFIDENCE = f"{NODE}/confidence"
GRACE_S = 20.0


@dataclass(frozen=True, slots=True)
class LiveRun:
    """What one live run left behind.

    Attributes:
        recording: The mcap with every topic.
        sent: Header stamps of the images that the camera published, ns.
    """

    recording: Path
    sent: tuple[int, ...]


def play_live(
    camera: Path,
    out: Path,
    *,
    seconds: float | None = None,
    topic: str | None = None,
    changes: Mapping[str, object] | None = None,
) -> LiveRun:
    """Play the recording `camera` into the running node and record everything into `out`.

    Args:
        camera: A recording, played in real time.
        out: The mcap to write.
        seconds: How long the recording lasts, None to look it up.
        topic: Image topic of the recording, None for the only one.
        changes: Parameters of the node that differ from the default.

    Raises:
        SemlaError: A process ended with an error; its last lines say why.
    """
    source = choose_topic(camera, topic)
    if seconds is None:
        seconds = _length_s(camera, source.name)
    compressed = source.msgtype == COMPRESSED_IMAGE
    published = CAMERA + "/compressed" if compressed else CAMERA
    transport = {"image_transport": "compressed" if compressed else "raw"}
    environment = node_environment() | {"ROS_DOMAIN_ID": str(random.randint(10, 100))}
    environment.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    logs = out.parent / "logs"
    sent = logs / "player.json"
    request = DriveRequest(changes=transport | dict(changes or {}), image=CAMERA)
    modules = "semla_ros.processes"
    record = [sys.executable, "-m", f"{modules}.recorder", str(out), published]
    record += [f"{NODE}/{name}" for name in RECORDED] + ["/diagnostics"]
    play = [sys.executable, "-m", f"{modules}.player", str(camera), "--to", published]
    play += ["--topic", source.name, "--subscribers", "2", "--wait", "60", "--report", str(sent)]
    with Processes(logs, environment) as processes:
        node = processes.start("node", node_command(request))
        recorder = processes.start("recorder", record)
        player = processes.start("player", play)
        try:
            _wait(player, seconds)
        except SemlaError as error:
            raise SemlaError(f"{error}; {processes.said()}") from error
        time.sleep(1.0)  # the last frame is still on its way through the node
    for name, process in (("node", node), ("recorder", recorder)):
        if process.returncode:
            raise SemlaError(
                f"the {name} process ended with code {process.returncode}: "
                f"{processes.last_words(name)}"
            )
    stamps = json.loads(sent.read_text(encoding="utf-8"))["stamps_ns"]
    return LiveRun(out, tuple(int(s) for s in stamps))


def _length_s(recording: Path, topic: str) -> float:
    recorded = [message.recorded_ns for message in read_serialized(recording, topic=topic)]
    return (max(recorded) - min(recorded)) * 1e-9 if recorded else 0.0


def _wait(player: subprocess.Popen[bytes], seconds: float) -> None:
    """Show the drive's progress until the player ends.

    Raises:
        SemlaError: The player failed or hangs.
    """
    limit = time.monotonic() + seconds + 60.0 + GRACE_S
    with tqdm(total=math.ceil(seconds), desc="live", unit="s", mininterval=5.0) as bar:
        while player.poll() is None:
            if time.monotonic() > limit:
                raise SemlaError(f"the camera did not finish its {seconds:g} s in time")
            time.sleep(1.0)
            bar.update(1)
    if player.returncode:
        raise SemlaError(f"the camera process ended with code {player.returncode}: see logs/")
