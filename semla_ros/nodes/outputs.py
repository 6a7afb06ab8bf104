"""Everything the node publishes per frame; optional images only where somebody listens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Float64, Header
from vision_msgs.msg import LabelInfo

from semla_ros.core.answers import SegmentationResult, SupportReading, SwapEvent
from semla_ros.core.types import AdapterMix, DomainEstimate, Frame, UInt8Array, Vocabulary
from semla_ros.core.viz.legend import legend
from semla_ros.core.viz.overlay import colorize, lut_of, overlay
from semla_ros.core.viz.status import status
from semla_ros.engine.contract import EngineStatus
from semla_ros.msg import AdapterSwap, EngineState, MixState, SupportScore
from semla_ros.nodes import conversions, qos
from semla_ros.nodes.planner import planner_label_info, planner_labels

_DEBUG = ("processing_time_ms", "cyclic_time_ms", "pipeline_latency_ms")


class Outputs:
    """The node's publishers; silent unless the node is active."""

    def __init__(self, node: LifecycleNode, note: qos.Note) -> None:
        """Create all publishers on `node`; QoS mismatches are explained to `note`."""
        self._node = node
        self._note = note
        self._all: list[LifecyclePublisher[Any]] = []
        self._mask = self._publisher(Image, "~/mask", qos.output_qos())
        self._mask_color = self._publisher(Image, "~/mask_color", qos.output_qos())
        self._confidence = self._publisher(Image, "~/confidence", qos.output_qos())
        self._overlay = self._publisher(Image, "~/overlay", qos.output_qos())
        self._status = self._publisher(Image, "~/status", qos.output_qos())
        self._planner_mask = self._publisher(Image, "~/planner/mask", qos.output_qos())
        self._support = self._publisher(SupportScore, "~/support", qos.output_qos())
        self._swap = self._publisher(AdapterSwap, "~/swap", qos.output_qos())
        self._label_info = self._publisher(LabelInfo, "~/label_info", qos.latched_qos())
        self._planner_info = self._publisher(LabelInfo, "~/planner/label_info", qos.latched_qos())
        self._legend = self._publisher(Image, "~/legend", qos.latched_qos())
        self._engine = self._publisher(EngineState, "~/engine", qos.latched_qos())
        self._mix = self._publisher(MixState, "~/mix", qos.latched_qos())
        self._debug = {
            name: self._publisher(Float64, f"~/debug/{name}", qos.output_qos()) for name in _DEBUG
        }
        self._stages = self._publisher(DiagnosticArray, "~/debug/stages", qos.output_qos())
        self._vocabulary: Vocabulary | None = None
        self._lut: UInt8Array = np.zeros((1, 3), np.uint8)
        self._told_mix: tuple[str, int] | None = None
        self._told_engine: EngineStatus | None = None

    def announce(self, vocabulary: Vocabulary, header: Header, *, again: bool = False) -> None:
        """Publish the class list if it changed, or `again`; the legend only if it changed."""
        same = self._vocabulary is not None and vocabulary.names == self._vocabulary.names
        if not same:
            self._vocabulary, self._lut = vocabulary, lut_of(vocabulary)
            picture = legend(vocabulary)
            self._legend.publish(conversions.image_message(header, picture, "rgb8"))
        if again or not same:
            self._label_info.publish(conversions.label_info_message(header, vocabulary))
            self._planner_info.publish(planner_label_info(header, vocabulary))

    def announce_mix(
        self,
        mix: AdapterMix,
        estimate: DomainEstimate | None,
        header: Header,
        *,
        state: int,
        since_ns: int,
        again: bool = False,
    ) -> None:
        """Publish what serves if mix or state changed, or `again`."""
        key = (mix.identity, state)
        if again or key != self._told_mix:
            self._told_mix = key
            self._mix.publish(
                conversions.mix_state_message(
                    header, mix, estimate, state=state, since_ns=since_ns
                )
            )

    def publish(
        self, header: Header, frame: Frame, result: SegmentationResult, *, alpha: float
    ) -> None:
        """Publish one frame's answer under the header of its image."""
        self.announce(result.vocabulary, header)
        if self._mask.get_subscription_count():
            self._mask.publish(conversions.mask_message(header, result.labels))
        if self._confidence.get_subscription_count():
            self._confidence.publish(conversions.image_message(header, result.confidence, "mono8"))
        if result.support is not None:
            self._support.publish(conversions.support_message(header, result.support, result.mix))
        if self._overlay.get_subscription_count():
            picture = self._picture(frame, result, alpha)
            self._overlay.publish(conversions.image_message(header, picture, "rgb8"))
        self._publish_views(header, result)

    def publish_swap(self, event: SwapEvent, *, frame_id: str) -> None:
        """Publish one attempt to change the adapters."""
        header = Header(stamp=conversions.time_message(event.stamp_ns), frame_id=frame_id)
        self._swap.publish(conversions.swap_message(header, event))

    def announce_engine(
        self, status: EngineStatus, header: Header, *, again: bool = False
    ) -> None:
        """Publish which engine serves and how it is, if that changed, or `again`."""
        if again or status != self._told_engine:
            self._told_engine = status
            engine, state, detail = status.serving, status.state, status.detail
            self._engine.publish(
                EngineState(header=header, engine=engine, state=state, detail=detail)
            )

    def publish_stale(self, header: Header, mix: AdapterMix, *, observed_ns: int) -> None:
        """Publish that there is no usable image; no mask with it."""
        stale = SupportReading.stale(observed_ns=observed_ns, age_s=math.nan)
        self._support.publish(conversions.support_message(header, stale, mix))
        self._publish_status(header, mix, stale)

    def publish_debug(self, **values_ms: float | None) -> None:
        """Publish durations under `~/debug/<name>`, those that are known and listened to."""
        for name, value in values_ms.items():
            publisher = self._debug[name]
            if value is not None and publisher.get_subscription_count():
                publisher.publish(Float64(data=float(value)))

    def publish_stages(self, header: Header, stages_ms: Mapping[str, float]) -> None:
        """Publish where the time of one frame went, under its header, if anybody listens."""
        if self._stages.get_subscription_count():
            self._stages.publish(conversions.stages_message(header, stages_ms))

    def destroy(self) -> None:
        """Remove all publishers."""
        for each in self._all:
            self._node.destroy_lifecycle_publisher(each)
        self._all.clear()

    def _publish_views(self, header: Header, result: SegmentationResult) -> None:
        if self._mask_color.get_subscription_count():
            picture = colorize(result.labels, self._lut)
            self._mask_color.publish(conversions.image_message(header, picture, "rgb8"))
        if self._planner_mask.get_subscription_count():
            labels = planner_labels(result.labels, result.vocabulary, result.support)
            self._planner_mask.publish(conversions.mask_message(header, labels))
        self._publish_status(header, result.mix, result.support)

    def _publish_status(
        self, header: Header, mix: AdapterMix, support: SupportReading | None
    ) -> None:
        if self._status.get_subscription_count():
            picture = status(mix, support)
            self._status.publish(conversions.image_message(header, picture, "rgb8"))

    def _picture(self, frame: Frame, result: SegmentationResult, alpha: float) -> UInt8Array:
        height, width = result.labels.shape
        rgb = frame.rgb
        if rgb.shape[:2] != (height, width):  # output_size: model
            rgb = np.asarray(cv2.resize(rgb, (width, height)), np.uint8)
        return overlay(rgb, result.labels, self._lut, alpha=alpha)

    def _publisher(
        self, kind: type[Any], name: str, profile: QoSProfile
    ) -> LifecyclePublisher[Any]:
        publisher = self._node.create_lifecycle_publisher(
            kind,
            name,
            profile,
            event_callbacks=qos.publisher_events(self._node.resolve_topic_name(name), self._note),
            qos_overriding_options=qos.overridable(),
        )
        self._all.append(publisher)
        return publisher
