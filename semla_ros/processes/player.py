"""Plays a recorded camera into a topic: the recorded messages, headers and bytes untouched.

    python -m semla_ros.processes.player drive.mcap --to /camera/image_raw

Raw and compressed streams stay what they are. Only a header stamp of zero is filled in, with the
time of recording, as replaying the recording offline does.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import struct
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image

from semla_ros.core.errors import BagError, SemlaError
from semla_ros.data.bags.recording import StoredMessage, read_serialized
from semla_ros.nodes.conversions import time_message
from semla_ros.nodes.signals import POLL_S, StopFlag, ros_process

_log = logging.getLogger(__name__)

_TYPES = {"sensor_msgs/msg/Image": Image, "sensor_msgs/msg/CompressedImage": CompressedImage}
_STAMP_OFFSET = 4


@dataclass(frozen=True, slots=True)
class PlayReport:
    """What was sent.

    Attributes:
        sent: Messages published.
        stamps_ns: Their header stamps.
        seconds: From the first to the last.
    """

    sent: int
    stamps_ns: tuple[int, ...]
    seconds: float


def header_stamp_ns(data: bytes) -> int:
    """Return the header stamp of a serialized message that begins with a header.

    Raises:
        BagError: Too short to hold one.
    """
    if len(data) < _STAMP_OFFSET + 8:
        raise BagError(f"expected a message with a header, got {len(data)} bytes")
    seconds, nanoseconds = struct.unpack_from(_order(data) + "iI", data, _STAMP_OFFSET)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def with_stamp(data: bytes, stamp_ns: int) -> bytes:
    """Return a serialized message with another header stamp."""
    stamp = struct.pack(_order(data) + "iI", *divmod(stamp_ns, 1_000_000_000))
    return data[:_STAMP_OFFSET] + stamp + data[_STAMP_OFFSET + 8 :]


def _order(data: bytes) -> str:
    return "<" if data[1] & 1 else ">"


def due_times(recorded_ns: Iterable[int], *, hz: float, speed: float) -> Iterator[float]:
    """Yield when each message is due, in s after the first: as recorded, or evenly at `hz`.

    A step back in recorded time (a loop) is due at once.
    """
    due, before = 0.0, None
    for index, now in enumerate(recorded_ns):
        if hz > 0:
            due = index / hz
        elif before is not None:
            due += max(0, now - before) * 1e-9 / speed
        before = now
        yield due


class Player(Node):
    """Publishes serialized messages at their time."""

    def __init__(
        self, topic: str, msgtype: str, *, reliability: str, clock: bool, stop: StopFlag
    ) -> None:
        """Create the publisher of `msgtype` on `topic`, and of /clock if asked for."""
        super().__init__("semla_player", start_parameter_services=False)
        self._stop = stop
        self._msgtype = msgtype
        profile = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=10,
            reliability=ReliabilityPolicy[reliability.upper()],
        )
        self._images: Publisher[Any] = self.create_publisher(_TYPES[msgtype], topic, profile)
        self._clock_publisher = self.create_publisher(Clock, "/clock", 10) if clock else None

    def wait_for_subscribers(self, count: int, timeout_s: float) -> None:
        """Wait until `count` subscribers are there.

        Raises:
            SemlaError: They did not come in `timeout_s` s.
        """
        end = time.monotonic() + timeout_s
        while self._images.get_subscription_count() < count and not self._stop:
            if time.monotonic() > end:
                raise SemlaError(self._nobody(count, timeout_s))
            time.sleep(0.02)

    def _nobody(self, count: int, timeout_s: float) -> str:
        topic = self._images.topic_name
        there = self.get_subscriptions_info_by_topic(topic)
        kinds = ", ".join(sorted({each.topic_type for each in there})) or "none at all"
        return (
            f"expected {count} subscribers of {topic!r} within {timeout_s:g} s, matched "
            f"{self._images.get_subscription_count()}: this recording holds {self._msgtype}, "
            f"subscribers there want {kinds} (the node's parameter `image_transport`?)"
        )

    def play(self, messages: Iterable[StoredMessage], *, hz: float, speed: float) -> PlayReport:
        """Publish `messages` at their time; ends early when told to stop."""
        stamps: list[int] = []
        start = time.monotonic()
        messages, timed = itertools.tee(messages)
        dues = due_times((m.recorded_ns for m in timed), hz=hz, speed=speed)
        for message, due in zip(messages, dues, strict=True):
            while (left := start + due - time.monotonic()) > 0 and not self._stop:
                time.sleep(min(left, POLL_S))
            if self._stop:
                break
            data, stamp = message.data, header_stamp_ns(message.data)
            if stamp == 0:
                stamp = message.recorded_ns
                data = with_stamp(data, stamp)
            if self._clock_publisher is not None:
                self._clock_publisher.publish(Clock(clock=time_message(stamp)))
            self._images.publish(data)
            stamps.append(stamp)
        return PlayReport(len(stamps), tuple(stamps), time.monotonic() - start)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="semla_ros.processes.player", description=__doc__)
    parser.add_argument("recording", type=Path, help="rosbag2 folder, .mcap or .db3")
    parser.add_argument("--topic", help="image topic of the recording (default: the only one)")
    parser.add_argument("--to", help="topic to publish on (default: as recorded)")
    parser.add_argument("--hz", type=float, default=0.0, help="fixed rate instead of real time")
    parser.add_argument("--speed", type=float, default=1.0, help="times real time")
    parser.add_argument("--count", type=int, default=0, help="only the first so many messages")
    parser.add_argument("--loop", type=int, default=1, help="how often to play it")
    parser.add_argument("--subscribers", type=int, default=1, help="wait for so many")
    parser.add_argument("--wait", type=float, default=30.0, help="at most so long [s]")
    parser.add_argument("--reliability", choices=("reliable", "best_effort"), default="reliable")
    parser.add_argument("--clock", action="store_true", help="publish /clock from the stamps")
    parser.add_argument("--report", type=Path, help="write what was sent as JSON")
    return parser.parse_args(argv)


def _messages(args: argparse.Namespace) -> Iterator[StoredMessage]:
    """Yield what is to be played, read as it is asked for."""
    for _ in range(args.loop):
        messages = read_serialized(args.recording, topic=args.topic)
        yield from itertools.islice(messages, args.count or None)


def _play(args: argparse.Namespace, stop: StopFlag) -> PlayReport:
    messages = _messages(args)
    first = next(messages, None)
    if first is None:
        raise BagError(f"recording {str(args.recording)!r} holds no image to play")
    topic = args.to or args.topic or "image"
    player = Player(
        topic, first.msgtype, reliability=args.reliability, clock=args.clock, stop=stop
    )
    try:
        player.wait_for_subscribers(args.subscribers, args.wait)
        report = player.play(itertools.chain([first], messages), hz=args.hz, speed=args.speed)
        time.sleep(0.2)  # a reliable writer still has the last images on their way
    finally:
        player.destroy_node()
    return report


def main(argv: Sequence[str] | None = None) -> int:
    """Play a recording; return the exit code."""
    args = _arguments(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    if args.speed <= 0 or args.hz < 0 or args.loop < 1 or args.count < 0:
        _log.error("expected --speed > 0, --hz >= 0, --loop >= 1 and --count >= 0")
        return 2
    try:
        with ros_process() as stop:
            report = _play(args, stop)
    except SemlaError as error:
        _log.error("%s", error)
        return 1
    if args.report:
        args.report.write_text(json.dumps(asdict(report)), encoding="utf-8")
    _log.info("sent %d images in %.1f s", report.sent, report.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
