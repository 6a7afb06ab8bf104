"""Records topics of any type into an mcap, as serialized messages with their time of arrival.

    python -m semla_ros.processes.recorder drive.mcap /segmenter/mask /segmenter/support

`--last` names a topic whose publisher waits for subscribers before it sends (the player does): it
is subscribed to when all others are matched, so that no answer is missed.

Ends on Ctrl-C, SIGTERM or after `--duration`, leaving a whole file. After a crash or on a full
disk what was recorded is kept beside it, under a name with `partial` in it.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

from semla_ros.core.errors import SemlaError
from semla_ros.data.bags.writer import BagWriter
from semla_ros.nodes.signals import POLL_S, StopFlag, ros_process, spin_until

_log = logging.getLogger(__name__)

_DEPTH = 200
CHECKPOINT_S = 2.0
"""How much of a recording a crash or a power cut may take, at most twice this."""


def message_class(msgtype: str) -> Any:  # noqa: ANN401  a generated class
    """Return the Python class of a message type such as `std_msgs/msg/String`."""
    package, _, name = msgtype.split("/")
    return getattr(importlib.import_module(f"{package}.msg"), name)


class Recorder(Node):
    """Subscribes to topics as they appear, with the QoS that their publishers offer."""

    def __init__(self, writer: BagWriter, topics: Sequence[str], last: str | None = None) -> None:
        """Wait for `topics` and then for `last` (absolute names) and write what they carry."""
        super().__init__("semla_recorder", start_parameter_services=False)
        self._writer = writer
        self._waiting = list(topics)
        self._last = last
        self._heard: list[Subscription[Any]] = []
        self.counts: Counter[str] = Counter(dict.fromkeys([*topics, *([last] if last else [])], 0))
        self.create_timer(POLL_S, self._look)
        self.create_timer(CHECKPOINT_S, writer.checkpoint)
        self._look()

    def _look(self) -> None:
        matched = all(each.get_publisher_count() for each in self._heard)
        if self._last and not self._waiting and matched:
            self._waiting, self._last = [self._last], None
        for topic in list(self._waiting):
            offered = self.get_publishers_info_by_topic(topic)
            if not offered:
                continue
            msgtype = offered[0].topic_type
            if not self._writer.knows(msgtype):
                _log.error("topic %s of unknown type %s is not recorded", topic, msgtype)
                self._waiting.remove(topic)
                continue
            qos = [each.qos_profile for each in offered]
            reliable = all(q.reliability == ReliabilityPolicy.RELIABLE for q in qos)
            latched = all(q.durability == DurabilityPolicy.TRANSIENT_LOCAL for q in qos)
            profile = QoSProfile(
                history=HistoryPolicy.KEEP_LAST,
                depth=_DEPTH,
                reliability=ReliabilityPolicy.RELIABLE
                if reliable
                else ReliabilityPolicy.BEST_EFFORT,
                durability=DurabilityPolicy.TRANSIENT_LOCAL
                if latched
                else DurabilityPolicy.VOLATILE,
            )
            subscription = self.create_subscription(
                message_class(msgtype),
                topic,
                functools.partial(self._write, topic, msgtype),
                profile,
                raw=True,
            )
            self._heard.append(subscription)
            _log.info("recording %s", topic)
            self._waiting.remove(topic)

    def _write(self, topic: str, msgtype: str, data: bytes) -> None:
        self._writer.write_raw(topic, msgtype, data, self.get_clock().now().nanoseconds)
        self.counts[topic] += 1


def _absolute(topic: str) -> str:
    return topic if topic.startswith("/") else f"/{topic}"


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="semla_ros.processes.recorder", description=__doc__)
    parser.add_argument("out", type=Path, help="the .mcap to write")
    parser.add_argument("topics", nargs="+", type=_absolute, help="topics to record")
    text = "a further topic, subscribed to when all others are matched"
    parser.add_argument("--last", type=_absolute, metavar="TOPIC", help=text)
    parser.add_argument("--duration", type=float, default=0.0, help="end after so long [s]")
    parser.add_argument("--report", type=Path, help="write the counts per topic as JSON")
    return parser.parse_args(argv)


def _record(args: argparse.Namespace, stop: StopFlag) -> dict[str, int]:
    with BagWriter(args.out) as writer:
        recorder = Recorder(
            writer,
            [_absolute(t) for t in args.topics],
            _absolute(args.last) if args.last else None,
        )
        _log.info(
            "until the recording is whole it lies in %s: semla reads it as it is, `mcap recover` "
            "mends it for others",
            writer.unfinished,
        )
        executor = SingleThreadedExecutor()
        executor.add_node(recorder)
        end = time.monotonic() + args.duration
        try:
            spin_until(
                lambda: bool(stop) or (args.duration > 0 and time.monotonic() >= end), executor
            )
        finally:
            executor.shutdown()
            recorder.destroy_node()
        return dict(recorder.counts)


def main(argv: Sequence[str] | None = None) -> int:
    """Record until told to end; return the exit code."""
    args = _arguments(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        with ros_process() as stop:
            counts = _record(args, stop)
    except SemlaError as error:
        _log.error("%s", error)
        return 1
    if args.report:
        args.report.write_text(json.dumps(counts), encoding="utf-8")
    _log.info("recorded %d messages of %d topics", sum(counts.values()), len(counts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
