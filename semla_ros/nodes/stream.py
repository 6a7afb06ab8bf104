"""From camera messages to published masks while the node is active."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, cast

from rclpy.clock import ROSClock
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Header

from semla_ros.core.answers import SwapEvent
from semla_ros.core.config import Config
from semla_ros.core.timing import StageTimer, now_ms
from semla_ros.core.types import DomainEstimate
from semla_ros.nodes import conversions
from semla_ros.nodes.camera import Camera, ImageMessage
from semla_ros.nodes.capture import Capture, CaptureReport
from semla_ros.nodes.freshness import Freshness
from semla_ros.nodes.hints import HintTopics
from semla_ros.nodes.outputs import Outputs
from semla_ros.nodes.statistics import FrameStatistics
from semla_ros.nodes.transport_loss import LossReport
from semla_ros.nodes.worker import Worker, WorkerReport
from semla_ros.pipeline import AdaptivePipeline

_log = logging.getLogger(__name__)

IDLE_S = 0.02
"""How often swaps are looked after while no image comes."""


class _Arrival(NamedTuple):
    """An image, when it came (steady clock) and how old it then was by the node's clock."""

    message: ImageMessage
    received_ms: float
    age_s: float | None


@dataclass(frozen=True, slots=True)
class StreamReport:
    """How images come and are worked on.

    Attributes:
        topic: The image topic, resolved.
        publishers: How many it has.
        incompatible: Publishers seen whose QoS does not fit.
        stale: Whether the camera has stalled.
        losses: Images that never came.
        worker: The worker's counters, None while there is none.
        capture: What is kept of frames that the library does not cover.
    """

    topic: str = ""
    publishers: int = 0
    incompatible: int = 0
    stale: bool = False
    losses: LossReport = field(default_factory=LossReport)
    worker: WorkerReport | None = None
    capture: CaptureReport = field(default_factory=CaptureReport)


class FrameStream:
    """Camera, worker and pipeline, wired for as long as the node is active.

    Attributes:
        camera: Where images come from.
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
        self._freshness = Freshness(cast(ROSClock, node.get_clock()))
        self._header = Header(stamp=node.get_clock().now().to_msg())
        self._since_ns = conversions.stamp_ns(self._header.stamp)
        self._estimate: DomainEstimate | None = None
        self._newest: _Arrival | None = None
        self._stale = False
        self._capture = Capture(pipeline, config)
        pipeline.interrupted()  # what was seen before the node was deactivated
        outputs.forget()
        self._announce(())
        self._worker: Worker[_Arrival] = Worker(self._handle, idle=self._idle, idle_s=IDLE_S)
        self._hints = HintTopics(node, pipeline)
        try:
            self.camera = Camera(node, config(), self._receive)
        except BaseException:
            self._hints.close()
            raise
        self._worker.start()

    def stop(self, *, patience_s: float) -> None:
        """Stop receiving; the frame in hand may take `patience_s` s more, no answer is published.

        Where support was published the last word is STALE: nobody looks any more.
        """
        self.camera.close()
        self._hints.close()
        if not self._worker.stop(patience_s):
            _log.error("the frame in hand does not end: the inference hangs")
        if self._statistics.values().level:
            self._publish_stale()
        if not self._capture.stop(patience_s=patience_s):
            _log.error("the frame that is being captured does not end: the disk hangs")

    def report(self) -> StreamReport:
        """Return how images come and are worked on; called periodically."""
        camera = self.camera
        return StreamReport(
            camera.topic,
            camera.publishers(),
            camera.incompatible,
            self._stale,
            camera.losses.report(),
            self._worker.report(),
            self._capture.report(),
        )

    def check(self) -> None:
        """Notice a stalled camera and say so for as long as it lasts; called periodically."""
        self._stale = self._freshness.silence_s() > self._config().stale_timeout_s
        if self._stale:
            self._statistics.went_stale()
            self._publish_stale()
        self._outputs.announce_engine(self._pipeline.engine.status, self._header)
        self._outputs.announce_capture(self._capture.report(), self._header)

    def _publish_stale(self) -> None:
        observed_ns = self._pipeline.interrupted()
        stamp = self._node.get_clock().now().to_msg()
        header = Header(stamp=stamp, frame_id=self._header.frame_id)
        self._outputs.publish_stale(header, self._pipeline.active, observed_ns=observed_ns)

    def _receive(self, message: ImageMessage) -> None:
        self._statistics.arrived()
        age_s = self._freshness.age_s(conversions.stamp_ns(message.header.stamp))
        self._newest = arrival = _Arrival(message, now_ms(), age_s)
        self._worker.put(arrival)

    def _handle(self, arrival: _Arrival) -> None:
        started_ms, newest = now_ms(), self._newest
        config, header = self._config(), arrival.message.header
        stamp_ns = conversions.stamp_ns(header.stamp)
        self._freshness.require(stamp_ns, max_age_s=config.max_image_age_s)
        timer = StageTimer()
        with timer.stage("decode"):
            arrival_ns = round(arrival.received_ms * 1e6)
            frame = self.camera.frame(arrival.message, config, arrival_ns=arrival_ns)
        result = self._pipeline.step(frame)
        if self._worker.closed:
            return
        self._header, self._estimate = header, result.estimate
        self._tell(result.swaps)
        self._freshness.require(stamp_ns, max_age_s=config.max_image_age_s)
        published_age_s = self._freshness.age_s(stamp_ns)
        with timer.stage("publish"):
            self._outputs.publish(header, frame, result, alpha=config.overlay_alpha)
        self._capture.saw(frame, result)
        cycle_s = self._freshness.answered()
        waited_ms = started_ms - newest.received_ms if newest and newest is not arrival else 0.0
        stages_ms = {
            "queue": started_ms - arrival.received_ms,
            "superseded": waited_ms,
            **timer.durations_ms,
            **result.timings_ms,
        }
        ages_s = {"receive": arrival.age_s, "age_at_publish": published_age_s}
        self._outputs.publish_stages(header, ages_s=ages_s, stages_ms=stages_ms)
        processing_s, age_s = (now_ms() - started_ms) * 1e-3, self._freshness.age_s(stamp_ns)
        self._outputs.publish_debug(
            processing_time_s=processing_s, cyclic_time_s=cycle_s, pipeline_latency_s=age_s
        )
        self._statistics.segmented(result, processing_s=processing_s, age_s=age_s)

    def _idle(self) -> None:
        events = self._pipeline.poll(conversions.stamp_ns(self._header.stamp))
        if not self._worker.closed:
            self._announce(events)

    def _announce(self, events: Sequence[SwapEvent]) -> None:
        """Publish class list, swaps and mix, where they changed."""
        self._outputs.announce(self._pipeline.vocabulary, self._header)
        self._tell(events)

    def _tell(self, events: Sequence[SwapEvent]) -> None:
        """Publish swaps, and the mix where it changed."""
        for event in events:
            self._statistics.swapped(committed=event.committed, error=event.error)
            if event.committed:
                self._since_ns = event.stamp_ns
            self._outputs.publish_swap(event, frame_id=self._header.frame_id)
        self._outputs.announce_mix(
            self._pipeline, self._estimate, self._header, since_ns=self._since_ns
        )
