"""A node and a probe as processes, and everything that a fault's script may do to them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from semla_ros.bench.drill.heard import Answer, Heard, heard_of
from semla_ros.bench.drill.scratch import SIZE, mapped, mount_small, remove_shared
from semla_ros.bench.frames import CAMERA
from semla_ros.bench.orders import Peer
from semla_ros.core.errors import SemlaError
from semla_ros.evaluation.live_result import NODE
from semla_ros.processes.children import Processes, stop_process
from semla_ros.processes.drive import NODE_MODULE, DriveRequest, node_command, node_environment

LAUNCHER = "semla_ros.bench.drill.faulty_node"
HEALTHY: Mapping[str, Any] = MappingProxyType({"hz": 5.0, "pictures": ["clear-day"]})
START_S = 90.0
_LOOK_S = 0.05
_MARGIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Setup:
    """How the node is started.

    Attributes:
        name: Trials with equal setups share a node, so long as they leave it as it was.
        changes: Parameters.
        switches: Start it through `faulty_node`.
        small_disk: Bundle, log and caches lie on a file system that a trial can fill.
    """

    name: str
    changes: Mapping[str, object] = field(default_factory=dict)
    switches: bool = False
    small_disk: bool = False


class Session:
    """One scratch folder, one probe and one node at a time; a context manager.

    Attributes:
        bundle: The node's own copy of the bundle; scripts may spoil it.
        answers, facts: What the script of the trial in hand has noted, see `Trial`.
        replaced: The script has ended or replaced the node's process on purpose.
        ended_ns: When the script said that its fault is over, None: at the script's end.
    """

    def __init__(self, bundle: Path, *, engine: str, groups: Mapping[str, Any]) -> None:
        """Prepare; `groups` holds the pictures: name -> (N, H, W, 3) uint8."""
        self._source = bundle
        self._engine = engine
        self._root = Path(tempfile.mkdtemp(prefix="semla-drill-"))
        # never the domain of a robot that runs: what is sent is broken
        private = {
            "ROS_LOG_DIR": str(self._root / "ros"),
            "ROS_DOMAIN_ID": str(1 + os.getpid() % 100),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        }
        self._processes = Processes(self._root / "logs", node_environment() | private)
        self.pictures = self._root / "pictures.npz"
        np.savez(self.pictures, **groups)
        self._heard_path = self._root / "heard.jsonl"
        self._heard, self._position = Heard(), 0
        self._peer: Peer | None = None
        self._node: subprocess.Popen[bytes] | None = None
        self._setup: Setup | None = None
        self._disk: Path | None = None
        self._shared: set[str] = set()
        self.bundle = self._root / "bundle"
        self.forget()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        remove_shared(self._shared)
        shutil.rmtree(self._root, ignore_errors=True)

    def forget(self) -> None:
        """Begin a new trial."""
        self.answers: dict[str, Answer] = {}
        self.facts: dict[str, str] = {}
        self.replaced = False
        self.ended_ns: int | None = None

    @property
    def setup(self) -> Setup | None:
        """What runs now, None: nothing."""
        return self._setup

    @property
    def pid(self) -> int:
        """The node's process."""
        if self._node is None:
            raise SemlaError("expected a node that was started")
        return self._node.pid

    @property
    def alive(self) -> bool:
        """Whether the node's process runs."""
        return self._node is not None and self._node.poll() is None

    @property
    def ended(self) -> str:
        """How the node's process ended, with its last words; empty while it runs."""
        if self.alive or self._node is None:
            return ""
        return f"it ended with code {self._node.returncode}; it says: {self.said()}"

    def start(self, setup: Setup) -> None:
        """Stop what runs; start a node on a new copy of the bundle, and a probe."""
        self.stop()
        self._setup = setup
        place = self._root
        if setup.small_disk:
            self._disk = place = self._root / "disk"
            mount_small(place, holding=self._source, spare_mib=4)
        self.bundle = place / "bundle"
        shutil.copytree(self._source, self.bundle)
        (self._root / "switches").mkdir()
        self._heard_path.unlink(missing_ok=True)
        self._heard, self._position = Heard(), 0
        compressed = setup.changes.get("image_transport") == "compressed"
        self._peer = self.new_peer("probe", self._heard_path, compressed=compressed)
        self.start_node()

    def start_node(self) -> None:
        """Start the node of the setup in force."""
        setup = self._setup or Setup("none")
        changes = {}
        if self._disk is not None:
            places = {"ROS_LOG_DIR": "ros", "XDG_CACHE_HOME": "cache", "TMPDIR": "tmp"}
            changes = {name: str(self._disk / place) for name, place in places.items()}
        self._node = self._processes.start("node", self.command(setup), changes=changes)

    def command(self, setup: Setup, *, namespace: str | None = None) -> list[str]:
        """Return the command line of a node."""
        changes = {"bundle": str(self.bundle), "engine": self._engine, "threads": 1}
        changes |= {"diagnostics_period_s": 0.25, **setup.changes}
        words = node_command(DriveRequest(changes=changes, image=CAMERA, namespace=namespace))
        if setup.switches:
            at = words.index(NODE_MODULE)
            words[at : at + 1] = [LAUNCHER, str(self._root / "switches")]
        return words

    def new_peer(self, name: str, heard: Path | None = None, *, compressed: bool = False) -> Peer:
        """Return another camera and ear; it sends nothing until told to."""
        heard = heard or self._root / f"{name}.jsonl"
        topic = CAMERA + ("/compressed" if compressed else "")
        words = [sys.executable, "-m", "semla_ros.bench.drill.probe", str(self.pictures)]
        words += [str(heard), "--to", topic, "--node", NODE]
        words += ["--compressed"] if compressed else []
        peer = Peer(self._processes, name, words)
        _ask(peer, {"do": "camera", "hz": 0})
        return peer

    def spawn(self, words: list[str], *, log: str = "other") -> subprocess.Popen[bytes]:
        """Start any other process in the drill's environment; the caller ends it."""
        return self._processes.start(log, words)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill a process without a word and remember what it leaves behind."""
        self._shared |= mapped(process.pid)
        process.kill()
        process.wait()

    def signal_node(self, number: int, *, within_s: float = 25.0) -> bool:
        """Send a signal to the node; return whether it ended. It is killed if it did not."""
        self.replaced = True
        node = self._node
        if node is None:
            return True
        self._shared |= mapped(node.pid)
        node.send_signal(number)
        try:
            node.wait(within_s)
        except subprocess.TimeoutExpired:
            node.kill()
            node.wait()
            return False
        return True

    def stop(self) -> None:
        """End node and probe, remove the bundle's copy."""
        peer, node = self._peer, self._node
        if peer is not None:
            _ask(peer, {"do": "camera", "hz": 0})
            self._shared |= mapped(peer.process.pid)
        if node is not None:
            self._shared |= mapped(node.pid)
            for switch in (self._root / "switches").glob("*"):
                switch.unlink(missing_ok=True)
            if node.poll() is None:
                stop_process(node)
        self._processes.stop()
        self._node = self._peer = self._setup = None
        if self._disk is not None:
            subprocess.run(["umount", str(self._disk)], check=False)
            self._disk = None
        shutil.rmtree(self.bundle, ignore_errors=True)
        shutil.rmtree(self._root / "switches", ignore_errors=True)

    def camera(self, **script: object) -> None:
        """Let the camera send so from now on; what is not said is as in `HEALTHY`."""
        if self._peer is not None:
            _ask(self._peer, {"do": "camera", "sizes": [SIZE], **HEALTHY, **script})

    def order(
        self, name: str, service: str, *, timeout_s: float = 20.0, **request: object
    ) -> bool:
        """Call a service, keep the answer as `name`, return whether it is yes."""
        if self._peer is None:
            raise SemlaError("expected a probe that was started")
        order = {"do": "call", "service": service, "request": request, "timeout_s": timeout_s}
        found = _ask(self._peer, order)
        success, message = found["success"], str(found["message"])
        self.answers[name] = Answer(time.monotonic_ns(), service, success, message)
        return bool(success)

    def switch(self, name: str, how: str) -> None:
        """Let a function of the node `raise` or `hang`; empty: let it work again."""
        path = self._root / "switches" / name
        if not how:
            path.unlink(missing_ok=True)
            return
        made = path.with_suffix(".new")
        made.write_text(how, encoding="ascii")
        made.replace(path)

    def wait(self, condition: Callable[[Heard], object], timeout_s: float) -> bool:
        """Return whether `condition` of what was heard became true in time."""
        end = time.monotonic() + timeout_s
        while not condition(self.heard()):
            if time.monotonic() > end:
                return False
            time.sleep(_LOOK_S)
        return True

    def heard(self, node: str | None = NODE) -> Heard:
        """Return what the probe has heard since the start; diagnostics of `node`, None: all."""
        with self._heard_path.open("rb") as stream:
            stream.seek(self._position)
            data = stream.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._position += len(whole)
        self._heard = self._heard.plus(heard_of(whole.decode().splitlines(keepends=True)))
        return self._heard if node is None else self._heard.of_node(node)

    def said(self) -> str:
        """Return the last lines of the node's log."""
        return self._processes.last_words("node")


def _ask(peer: Peer, order: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the probe's answer; whether the node lives is for the trial to say."""
    timeout_s = _MARGIN_S + float(order.get("timeout_s", 0.0))
    return peer.ask(order, while_=lambda: True, timeout_s=timeout_s)
