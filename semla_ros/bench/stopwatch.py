"""Plays images into the running node on command and takes the time of every answer.

    python -m semla_ros.bench.stopwatch camera.mcap --to /camera/image_raw --node /segmenter

Takes orders, see `bench.orders`. The images are those of the recording, over and over, each
stamped with the moment at which it is due, so that answers are matched by their headers and all
times are of one clock.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from semla_ros.bench.orders import Action, Order, serve
from semla_ros.core.errors import BagError, SemlaError
from semla_ros.data.bags.recording import StoredMessage, read_serialized
from semla_ros.msg import AdapterSwap
from semla_ros.nodes.conversions import stamp_ns
from semla_ros.nodes.latency import prefer_latency
from semla_ros.processes.player import header_stamp_ns, with_stamp
from semla_ros.srv import SelectAdapters

_TYPES = {"sensor_msgs/msg/Image": Image, "sensor_msgs/msg/CompressedImage": CompressedImage}
_DEPTH = 200
_SWAP_TIMES = ("detection", "fuse", "load", "stall")


class Stopwatch(Node):
    """Publishes images and notes when what comes back arrives; `play` belongs to one thread.

    The callbacks run in another thread, on the executor.
    """

    def __init__(self, images: Sequence[StoredMessage], *, topic: str, node: str) -> None:
        """Connect to `node` (its full name), which takes images on `topic`."""
        super().__init__("semla_stopwatch", start_parameter_services=False)
        self._images = images
        deep = QoSProfile(depth=_DEPTH, reliability=ReliabilityPolicy.RELIABLE)
        self._camera = self.create_publisher(_TYPES[images[0].msgtype], topic, 10)
        self._answers = [
            self.create_subscription(Image, f"{node}/mask", self._mask, deep, raw=True),
            self.create_subscription(DiagnosticArray, f"{node}/debug/stages", self._stage, deep),
            self.create_subscription(AdapterSwap, f"{node}/swap", self._swap, deep),
        ]
        self.create_subscription(DiagnosticArray, "/diagnostics", self._diagnosed, deep)
        self._select: Any = self.create_client(SelectAdapters, f"{node}/select_adapters")
        self._status = f"{node}: image"
        self._mixes: Iterator[Mapping[str, float]] = iter(())
        self._record: dict[str, Any] = {}
        self._dropped = 0
        self._forget()

    def connect(self, order: Order) -> Order:
        """Wait until the node takes images and its answers come here.

        Raises:
            SemlaError: Not in the order's `timeout_s`.
        """
        timeout_s = float(order["timeout_s"])
        end = time.monotonic() + timeout_s
        while not self._connected():
            if time.monotonic() > end:
                raise SemlaError(
                    f"expected a node that takes {self._images[0].msgtype} on "
                    f"{self._camera.topic_name!r} within {timeout_s:g} s, found "
                    f"{self._camera.get_subscription_count()} subscribers: see the node's log"
                )
            time.sleep(0.02)
        return {}

    def _connected(self) -> bool:
        there = (self.count_publishers(each.topic_name) for each in self._answers)
        return bool(self._camera.get_subscription_count()) and all(there)

    def play(self, order: Order) -> dict[str, Any]:
        """Return what was sent and what came back.

        Args:
            order: `hz`, `frames`, `settle_s` (how long to wait for the last answers) and
                `mixes`, which are pinned in turns, each as soon as the one before serves.
        """
        self._forget()
        dropped = self._dropped
        with self._swapping(order.get("mixes") or []):
            self._publish(int(order["frames"]), 1.0 / float(order["hz"]))
        time.sleep(float(order.get("settle_s", 1.0)))
        record, self._record = self._record, {}
        return record | {"dropped_by_node": self._dropped - dropped}

    def select(self, order: Order) -> dict[str, Any]:
        """Return the node's answer to choosing `mode` (2: base, 0: follow the scene)."""
        request = SelectAdapters.Request(mode=int(order["mode"]))
        future = self._select.call_async(request)
        end = time.monotonic() + float(order.get("timeout_s", 20.0))
        while not future.done() and time.monotonic() < end:
            time.sleep(0.01)
        answer = future.result() if future.done() else None
        return {
            "success": answer is not None and bool(answer.success),
            "message": "no answer" if answer is None else str(answer.message),
        }

    def _publish(self, frames: int, period_s: float) -> None:
        """Publish `frames` images, each stamped with the moment at which it is due.

        A delay of this process is so part of the latency, never left out of it. The copy that
        carries the stamp is made before the moment comes.
        """
        start = time.time_ns() + round(period_s * 1e9)
        sent, late_ms = self._record["sent_ns"], self._record["late_ms"]
        for index, image in enumerate(islice(cycle(self._images), frames)):
            due = start + round(index * period_s * 1e9)
            data = with_stamp(image.data, due)
            left_s = (due - time.time_ns()) * 1e-9
            if left_s > 0:
                time.sleep(left_s)
            late_ms.append((time.time_ns() - due) * 1e-6)
            self._camera.publish(data)
            sent.append(due)

    @contextmanager
    def _swapping(self, mixes: Sequence[Mapping[str, float]]) -> Iterator[None]:
        self._mixes = cycle(mixes) if mixes else iter(())
        self._next_mix()
        try:
            yield
        finally:
            self._mixes = iter(())

    def _next_mix(self) -> None:
        mix = next(self._mixes, None)
        if mix is None:
            return
        request = SelectAdapters.Request(
            mode=SelectAdapters.Request.PIN,
            names=list(mix),
            weights=[float(weight) for weight in mix.values()],
        )
        started = time.time_ns()
        orders = self._record["orders"]

        def served(future: Any) -> None:  # noqa: ANN401  rclpy's Future
            answer = future.result()
            orders.append([started, time.time_ns(), bool(answer.success), str(answer.message)])
            self._next_mix()

        self._select.call_async(request).add_done_callback(served)

    def _forget(self) -> None:
        kinds = ("sent_ns", "late_ms", "masks", "stages", "swaps", "orders")
        self._record = {kind: [] for kind in kinds}

    def _mask(self, data: bytes) -> None:
        arrived = time.time_ns()
        self._note("masks", [header_stamp_ns(data), arrived])

    def _stage(self, message: DiagnosticArray) -> None:
        values = {each.key: 1e3 * float(each.value) for each in message.status[0].values}
        self._note("stages", [stamp_ns(message.header.stamp), values])

    def _swap(self, message: AdapterSwap) -> None:
        times = {f"{name}_ms": 1e3 * getattr(message, f"{name}_s") for name in _SWAP_TIMES}
        facts = {
            "stamp_ns": stamp_ns(message.header.stamp),
            "arrived_ns": time.time_ns(),
            "to": str(message.to_mix.id),
            "reason": str(message.reason),
            "committed": bool(message.committed),
            "error": str(message.error),
        }
        self._note("swaps", facts | times)

    def _diagnosed(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == self._status:
                facts = {each.key: each.value for each in status.values}
                self._dropped = int(facts.get("dropped", 0))

    def _note(self, kind: str, item: Any) -> None:  # noqa: ANN401  plain JSON
        kept = self._record.get(kind)
        if kept is not None:
            kept.append(item)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="semla_ros.bench.stopwatch", description=__doc__)
    parser.add_argument("recording", type=Path, help="rosbag2 folder, .mcap or .db3")
    parser.add_argument("--topic", help="image topic of the recording (default: the only one)")
    parser.add_argument("--to", required=True, help="topic to publish on")
    parser.add_argument("--node", default="/segmenter", help="full name of the node")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve orders; return the exit code."""
    prefer_latency()
    args = _arguments(argv)

    def made() -> tuple[Stopwatch, Mapping[str, Action]]:
        images = list(read_serialized(args.recording, topic=args.topic))
        if not images:
            raise BagError(f"recording {str(args.recording)!r} holds no image to play")
        watch = Stopwatch(images, topic=args.to, node=args.node)
        return watch, {"connect": watch.connect, "play": watch.play, "select": watch.select}

    return serve(made)


if __name__ == "__main__":
    sys.exit(main())
