"""A camera that misbehaves on command, and an ear for everything that the node says.

    python -m semla_ros.bench.drill.probe pictures.npz heard.jsonl --to /camera/image_raw

Takes orders, see `bench.orders`. Everything sent and heard goes to the second file as it happens,
one JSON array a line: kind, time (ns, the system's steady clock, which all processes share) and
facts. `semla_ros.bench.drill.heard` reads it.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import Trigger
from vision_msgs.msg import LabelInfo

from semla_ros.bench.drill.probe_camera import Picture, Script, message_of
from semla_ros.bench.orders import Action, Order, serve
from semla_ros.core.answers import SUPPORT_LEVELS
from semla_ros.core.files.npz_file import read_arrays
from semla_ros.msg import AdapterSwap, SupportScore
from semla_ros.nodes.conversions import stamp_ns
from semla_ros.processes.player import with_stamp
from semla_ros.srv import SelectAdapters, SetVocabulary

_DEPTH = 50
_MAX_PICTURES = 500_000_000

SERVICES: Mapping[str, tuple[Any, Callable[[Mapping[str, Any]], Any]]] = {
    "select_adapters": (SelectAdapters, lambda facts: SelectAdapters.Request(**facts)),
    "set_vocabulary": (SetVocabulary, lambda facts: SetVocabulary.Request(**facts)),
    "reload_library": (Trigger, lambda _: Trigger.Request()),
    "change_state": (
        ChangeState,
        lambda facts: ChangeState.Request(transition=Transition(label=facts["label"])),
    ),
    "set_parameters": (
        SetParameters,
        lambda facts: SetParameters.Request(
            parameters=[Parameter(k, value=v).to_parameter_msg() for k, v in facts.items()]
        ),
    ),
}


class Probe(Node):
    """Camera and ear; `run_camera` belongs to one thread, the callbacks to the executor's."""

    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__("semla_probe", start_parameter_services=False)
        self._compressed: bool = args.compressed
        self._groups = read_arrays(args.pictures, max_bytes=_MAX_PICTURES)
        self._counts = {name: len(group) for name, group in self._groups.items()}
        self._made: dict[Picture, bytes] = {}
        self._heard = args.heard.open("a", buffering=1, encoding="utf-8")
        self._script = Script({})
        self._node: str = args.node
        self._clients_by_name: dict[str, Any] = {}
        deep = QoSProfile(depth=_DEPTH, reliability=ReliabilityPolicy.RELIABLE)
        latched = QoSProfile(
            depth=1,
            reliability=ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL,
        )
        kind = CompressedImage if args.compressed else Image
        self._camera = self.create_publisher(kind, args.to, 5)
        for topic, message, heard, profile in (
            (f"{args.node}/mask", Image, self._mask, deep),
            (f"{args.node}/support", SupportScore, self._support, deep),
            (f"{args.node}/swap", AdapterSwap, self._swap, deep),
            (f"{args.node}/label_info", LabelInfo, self._labels, latched),
            ("/diagnostics", DiagnosticArray, self._diagnosed, deep),
        ):
            self.create_subscription(message, topic, heard, profile)

    def camera(self, order: Order) -> Order:
        """Let the camera work so, see `probe_camera.Script`."""
        self._script = Script(order)
        return {}

    def run_camera(self, ended: threading.Event) -> None:
        """Send images as the script in force says until `ended`."""
        due = time.monotonic()
        while not ended.is_set():
            script = self._script
            if script.hz <= 0:
                time.sleep(0.02)
                due = time.monotonic()
                continue
            due = max(due + 1.0 / script.hz, time.monotonic() - 0.5)
            time.sleep(max(0.0, due - time.monotonic()))
            for _ in range(script.burst if script is self._script else 0):
                self._send(*script.next(self._counts))

    def _send(self, picture: Picture, stamp: int) -> None:
        data = self._made.get(picture)
        if data is None:
            rgb = np.asarray(self._groups[picture.group][picture.number], np.uint8)
            height, width = picture.size
            if rgb.shape[:2] != picture.size:
                rgb = np.asarray(cv2.resize(rgb, (width, height)), np.uint8)
            message = message_of(rgb, broken=picture.broken, compressed=self._compressed)
            data = self._made[picture] = serialize_message(message)
        self._note("sent", stamp, picture.group, picture.number, *picture.size, picture.broken)
        self._camera.publish(with_stamp(data, stamp))

    def call(self, order: Order) -> Order:
        """Return the answer of a service within `timeout_s`; one that comes later is a note."""
        name, timeout_s = str(order["service"]), float(order.get("timeout_s", 30.0))
        kind, request = SERVICES[name]
        if name not in self._clients_by_name:
            self._clients_by_name[name] = self.create_client(kind, f"{self._node}/{name}")
        client = self._clients_by_name[name]
        end = time.monotonic() + timeout_s
        while not client.service_is_ready():
            if time.monotonic() > end:
                return {"success": None, "message": "no such service"}
            time.sleep(0.02)
        future = client.call_async(request(order.get("request", {})))
        future.add_done_callback(lambda done: self._note("answer", name, *_said(done.result())))
        while not future.done() and time.monotonic() < end:
            time.sleep(0.01)
        if not future.done():
            return {"success": None, "message": "no answer yet"}
        success, message = _said(future.result())
        return {"success": success, "message": message}

    def _mask(self, message: Image) -> None:
        kind = np.uint8 if message.encoding == "mono8" else np.uint16
        labels = np.frombuffer(message.data, kind)
        share = float(np.bincount(labels).max() / labels.size) if labels.size else 0.0
        check = zlib.crc32(message.data)
        at = stamp_ns(message.header.stamp)
        self._note("mask", at, message.height, message.width, check, round(share, 4))

    def _support(self, message: SupportScore) -> None:
        at, observed = stamp_ns(message.header.stamp), stamp_ns(message.observed)
        self._note("support", at, SUPPORT_LEVELS[message.level], observed, message.mix_id)

    def _swap(self, message: AdapterSwap) -> None:
        self._note("swap", message.to_mix.id, message.committed, message.reason, message.error)

    def _labels(self, message: LabelInfo) -> None:
        self._note("labels", [each.class_name for each in message.class_map])

    def _diagnosed(self, message: DiagnosticArray) -> None:
        for status in message.status:
            facts = {each.key: each.value for each in status.values}
            self._note("diagnosed", status.name, status.level[0], status.message, facts)

    def _note(self, kind: str, *facts: object) -> None:
        self._heard.write(json.dumps([kind, time.monotonic_ns(), *facts]) + "\n")


def _said(response: Any) -> tuple[bool, str]:  # noqa: ANN401  one of five generated classes
    if isinstance(response, SetParameters.Response):
        return bool(response.results[0].successful), str(response.results[0].reason)
    return bool(response.success), str(getattr(response, "message", ""))


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="semla_ros.bench.drill.probe", description=__doc__)
    parser.add_argument("pictures", type=Path, help="npz: name -> (N, H, W, 3) uint8 RGB")
    parser.add_argument("heard", type=Path, help="the .jsonl to write")
    parser.add_argument("--to", required=True, help="topic to publish on")
    parser.add_argument("--compressed", action="store_true", help="publish JPEG")
    parser.add_argument("--node", default="/segmenter", help="full name of the node")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve orders; return the exit code."""
    args = _arguments(argv)

    def made() -> tuple[Probe, Mapping[str, Action]]:
        probe = Probe(args)
        return probe, {"camera": probe.camera, "call": probe.call}

    return serve(made, Probe.run_camera)


if __name__ == "__main__":
    sys.exit(main())
