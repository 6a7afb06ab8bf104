"""From camera messages to published masks while the node is active."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.lifecycle import LifecycleNode
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from semla_ros.core.answers import SwapEvent
from semla_ros.core.config import Config
from semla_ros.core.errors import FrameError
from semla_ros.core.files.image_codec import dark_note
from semla_ros.core.timing import StageTimer, now_ms
from semla_ros.core.types import DomainEstimate, Frame
from semla_ros.msg import MixState
from semla_ros.nodes import conversions, qos
from semla_ros.nodes.capture import Capture
from semla_ros.nodes.outputs import Outputs
from semla_ros.nodes.statistics import FrameStatistics
from semla_ros.nodes.transport_loss import TransportLoss
from semla_ros.nodes.worker import Worker, WorkerReport
from semla_ros.pipeline import AdaptivePipeline

if TYPE_CHECKING:
    from rclpy.subscription import MessageInfo  # from Kilted on

_log = logging.getLogger(__name__)

IDLE_S = 0.02
"""How often swaps are looked after while no image comes."""

ANNOUNCE_EVERY_MS = 5000.0
"""How often the class list is repeated for recordings that start late."""


class TooOld(FrameError):  # noqa: N818  the name is a key of the diagnostics
    """An image was older than `max_image_age` when its turn came."""


class _Arrival(NamedTuple):
    """An image, when it came (steady clock) and how old it then was by the node's clock."""

    message: Image | CompressedImage
    received_ms: float
    age_ms: float | None


class FrameStream:
    """Subscription, worker and pipeline, wired for as long as the node is active.

    Attributes:
        topic: Resolved name of the image topic.
        incompatible: Publishers seen whose QoS does not fit.
        stale: Whether the camera has stalled.
        losses: Images that never came.
        capture: What keeps frames that the library does not cover.
    """

    def __init__(
        self,
        node: LifecycleNode,
        pipeline: AdaptivePipeline,
        outputs: Outputs,
        statistics: FrameStatistics,
        config: Callable[[], Config],
    ) -> None:
        """Start receiving; `config` returns the settings in force."""
        self._node = node
        self._pipeline = pipeline
        self._outputs = outputs
        self._statistics = statistics
        self._config = config
        self._header = Header(stamp=node.get_clock().now().to_msg())
        self._since_ns = conversions.stamp_ns(self._header.stamp)
        self._estimate: DomainEstimate | None = None
        self._told_dark = False
        self._usable = self._moment()
        self._before_check = self._moment()
        self._announced_ms = now_ms()
        self._published_ms: float | None = None
        self._newest: _Arrival | None = None
        self.stale = False
        self.incompatible = 0
        self.losses = TransportLoss(self.publishers)
        self.capture = Capture(pipeline, config)
        pipeline.interrupted()  # what was seen before the node was deactivated
        self.announce()
        self._worker: Worker[_Arrival] = Worker(self._handle, idle=self._idle, idle_s=IDLE_S)
        self._worker.start()
        self._subscription = self._subscribe()
        self.topic: str = self._subscription.topic_name

    def announce(self) -> None:
        """Publish class list and mix, whether or not they changed."""
        self._outputs.announce(self._pipeline.vocabulary, self._header, again=True)
        self._announce_mix(again=True)

    def stop(self, *, patience_s: float) -> None:
        """Stop receiving; the frame in hand is finished within `patience_s` s, none is kept."""
        self._node.destroy_subscription(self._subscription)
        if not self._worker.stop(patience_s):
            _log.error("the frame in hand does not end: the inference hangs")
        if not self.capture.stop(patience_s=patience_s):
            _log.error("the frame that is being captured does not end: the disk hangs")

    def report(self) -> WorkerReport:
        """Return the worker's counters."""
        return self._worker.report()

    def publishers(self) -> int:
        """Return how many publishers the image topic has."""
        return int(self._node.count_publishers(self.topic))

    def check(self) -> None:
        """Notice a stalled camera and say so for as long as it lasts; called periodically."""
        now, before = self._moment(), self._before_check
        self._before_check = now
        clock_s = (now[0] - self._usable[0]) * 1e-9
        wall_s = (now[1] - self._usable[1]) * 1e-3
        stands_still = now[0] == before[0]
        elapsed = wall_s if stands_still or clock_s < 0 else clock_s
        self.stale = elapsed > self._config().stale_timeout_s
        if self.stale:
            self._statistics.went_stale()
            observed_ns = self._pipeline.interrupted()
            header = Header(
                stamp=self._node.get_clock().now().to_msg(), frame_id=self._header.frame_id
            )
            self._outputs.publish_stale(header, self._pipeline.active, observed_ns=observed_ns)
        self._outputs.announce_engine(self._pipeline.engine.status, self._header)
        self._outputs.announce_capture(self.capture.report(), self._header)
        if now_ms() - self._announced_ms > ANNOUNCE_EVERY_MS:
            self._announced_ms = now_ms()
            self._outputs.announce(self._pipeline.vocabulary, self._header, again=True)
            self._outputs.announce_engine(self._pipeline.engine.status, self._header, again=True)

    def _subscribe(self) -> Subscription[Any]:
        node, compressed = self._node, self._config().image_transport == "compressed"
        topic = node.resolve_topic_name("image")
        if compressed and not topic.endswith("/compressed"):
            topic += "/compressed"
        return node.create_subscription(
            CompressedImage if compressed else Image,
            topic,
            self._receive,
            qos.camera_qos(),
            callback_group=MutuallyExclusiveCallbackGroup(),
            event_callbacks=qos.subscription_events(
                topic,
                self._mismatch,
                # The events executor does not survive events at the end of a subscription.
                lost=None if self._config().executor == "events" else self.losses.reported,
            ),
            qos_overriding_options=qos.overridable(),
        )

    def _mismatch(self, text: str) -> None:
        self.incompatible += 1
        _log.error("%s", text)

    def _receive(self, message: Image | CompressedImage, info: MessageInfo) -> None:
        self._statistics.arrived()
        self.losses.arrived(info, conversions.stamp_ns(message.header.stamp))
        arrival = _Arrival(message, now_ms(), self._age_ms(message.header))
        self._newest = arrival
        self._worker.put(arrival)

    def _handle(self, arrival: _Arrival) -> None:
        started, config, message = now_ms(), self._config(), arrival.message
        newest = self._newest
        self._require_fresh(message.header, config.max_image_age)
        timer = StageTimer()
        with timer.stage("decode"):
            frame = replace(
                self._frame(message, config), arrival_ns=round(arrival.received_ms * 1e6)
            )
        result = self._pipeline.step(frame)
        self._header = message.header
        self._estimate = result.estimate
        age_ms = self._age_ms(message.header)
        with timer.stage("publish"):
            self._outputs.publish(message.header, frame, result, alpha=config.overlay_alpha)
        self.capture.saw(frame, result)
        self._tell(result.swaps)
        self._announce_mix()
        self._usable = self._moment()
        waited_ms = started - newest.received_ms if newest and newest is not arrival else 0.0
        stages = {"superseded": waited_ms, **timer.durations_ms, **result.timings_ms}
        self._measure(started, arrival, age_ms, stages)
        self._statistics.segmented(
            result, processing_ms=now_ms() - started, age_ms=self._age_ms(message.header)
        )

    def _idle(self) -> None:
        self._tell(self._pipeline.poll(conversions.stamp_ns(self._header.stamp)))
        self._outputs.announce(self._pipeline.vocabulary, self._header)
        self._announce_mix()

    def _frame(self, message: Image | CompressedImage, config: Config) -> Frame:
        bits, compressed = config.significant_bits, isinstance(message, CompressedImage)
        convert: Any = (
            conversions.frame_from_compressed if compressed else conversions.frame_from_image
        )
        frame: Frame = convert(message, max_pixels=config.max_pixels, significant_bits=bits)
        if not self._told_dark:
            encoding = message.format if compressed else message.encoding
            note = dark_note(frame.rgb, encoding, bits)
            self._told_dark = bool(note)
            if note:
                _log.warning("%s", note)
        return frame

    def _tell(self, events: Sequence[SwapEvent]) -> None:
        for event in events:
            self._statistics.swapped(committed=event.committed, error=event.error)
            if event.committed:
                self._since_ns = event.stamp_ns
            self._outputs.publish_swap(event, frame_id=self._header.frame_id)

    def _announce_mix(self, *, again: bool = False) -> None:
        pipeline = self._pipeline
        if pipeline.busy:
            state = MixState.SWAPPING
        elif pipeline.pinned is not None:
            state = MixState.PINNED
        else:
            state = MixState.FOLLOWING
        self._outputs.announce_mix(
            pipeline.active,
            self._estimate,
            self._header,
            state=state,
            since_ns=self._since_ns,
            again=again,
        )

    def _require_fresh(self, header: Header, limit_s: float) -> None:
        age_ms = self._age_ms(header)
        if age_ms is not None and age_ms > limit_s * 1e3 > 0:
            raise TooOld(f"expected an image at most {limit_s:g} s old, got {age_ms * 1e-3:.3f} s")

    def _age_ms(self, header: Header) -> float | None:
        """Return the image's age by the node's clock, None before simulated time has begun."""
        now_ns = self._node.get_clock().now().nanoseconds
        return (now_ns - conversions.stamp_ns(header.stamp)) * 1e-6 if now_ns else None

    def _measure(
        self,
        started: float,
        arrival: _Arrival,
        age_ms: float | None,
        stages_ms: Mapping[str, float],
    ) -> None:
        """Publish where the time of the frame went; `age_ms` is that at publication."""
        now, before, header = now_ms(), self._published_ms, arrival.message.header
        self._published_ms = now
        ages = {"receive": arrival.age_ms, "age_at_publish": age_ms}
        known = {name: age for name, age in ages.items() if age is not None}
        queued = {"queue": started - arrival.received_ms}
        self._outputs.publish_stages(header, {**known, **queued, **stages_ms})
        self._outputs.publish_debug(
            processing_time_ms=now - started,
            cyclic_time_ms=None if before is None else now - before,
            pipeline_latency_ms=self._age_ms(header),
        )

    def _moment(self) -> tuple[int, float]:
        """Return the node's time in ns (simulated, or a steady clock) and the steady one in ms."""
        steady = now_ms()
        simulated = self._node.get_parameter("use_sim_time").value
        clock = self._node.get_clock().now().nanoseconds if simulated else round(steady * 1e6)
        return int(clock), steady
