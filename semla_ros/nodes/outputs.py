"""Everything the node publishes per frame; optional images only where somebody listens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Float64, Header
from vision_msgs.msg import LabelInfo

from semla_ros.core.answers import SegmentationResult, SupportReading, SwapEvent
from semla_ros.core.timing import now_ms
from semla_ros.core.types import AdapterMix, DomainEstimate, Frame, Vocabulary
from semla_ros.core.viz.legend import legend
from semla_ros.engine.contract import EngineStatus
from semla_ros.msg import AdapterSwap, CaptureState, EngineState, MixState, SupportScore
from semla_ros.nodes import conversions, qos
from semla_ros.nodes.capture import CaptureReport
from semla_ros.nodes.planner import planner_label_info, planner_labels
from semla_ros.pipeline import AdaptivePipeline

_DEBUG = ("processing_time_s", "cyclic_time_s", "pipeline_latency_s")

REPEAT_MS = 5000.0
"""How often class list and engine are repeated, for recordings that start late."""


class _Told:
    """What was announced last: it is due again when it changed, or `repeat_ms` afterwards."""

    def __init__(self, repeat_ms: float) -> None:
        self._repeat_ms = repeat_ms
        self._told: object = None
        self._when_ms = 0.0

    def forget(self) -> None:
        """Make whatever comes next due."""
        self._told = None

    def due(self, value: object) -> bool:
        """Return whether `value` is to be announced now; it then counts as announced."""
        now = now_ms()
        if value == self._told and now - self._when_ms <= self._repeat_ms:
            return False
        self._told, self._when_ms = value, now
        return True


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
        self._capture = self._publisher(CaptureState, "~/capture", qos.latched_qos())
        self._mix = self._publisher(MixState, "~/mix", qos.latched_qos())
        self._debug = {
            name: self._publisher(Float64, f"~/debug/{name}", qos.output_qos()) for name in _DEBUG
        }
        self._stages = self._publisher(DiagnosticArray, "~/debug/stages", qos.output_qos())
        self._vocabulary: Vocabulary | None = None
        self._told_classes, self._told_engine = _Told(REPEAT_MS), _Told(REPEAT_MS)
        self._told_mix, self._told_capture = _Told(math.inf), _Told(math.inf)

    def forget(self) -> None:
        """Publish everything that is announced anew, whether or not it changed."""
        for each in (
            self._told_classes,
            self._told_mix,
            self._told_engine,
            self._told_capture,
        ):
            each.forget()

    def announce(self, vocabulary: Vocabulary, header: Header) -> None:
        """Publish the class list if it changed, and every so often; the legend if it changed."""
        if self._vocabulary is None or vocabulary.names != self._vocabulary.names:
            self._vocabulary = vocabulary
            picture = legend(vocabulary)
            self._legend.publish(conversions.image_message(header, picture, "rgb8"))
        if self._told_classes.due(vocabulary.names):
            self._label_info.publish(conversions.label_info_message(header, vocabulary))
            self._planner_info.publish(planner_label_info(header, vocabulary))

    def announce_mix(
        self,
        pipeline: AdaptivePipeline,
        estimate: DomainEstimate | None,
        header: Header,
        *,
        since_ns: int,
    ) -> None:
        """Publish what serves, and whether by hand or by words, if one of them changed."""
        mix, state = pipeline.active, MixState.FOLLOWING
        if pipeline.busy:
            state = MixState.SWAPPING
        elif pipeline.pinned is not None:
            state = MixState.PINNED
        hint = pipeline.adaptation.hint
        if self._told_mix.due((mix.identity, state, hint.text, round(hint.share, 1))):
            message = conversions.mix_state_message(
                header,
                mix,
                estimate,
                state=state,
                since_ns=since_ns,
                generated=pipeline.library.generated,
                hint=hint,
            )
            self._mix.publish(message)

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
        if self._planner_mask.get_subscription_count():
            labels = planner_labels(result.labels, result.vocabulary, result.support)
            self._planner_mask.publish(conversions.mask_message(header, labels))
        if self._overlay.get_subscription_count():
            from semla_ros.nodes.views import overlay_view

            self._overlay.publish(overlay_view(header, frame, result, alpha))
        if self._mask_color.get_subscription_count():
            from semla_ros.nodes.views import color_view

            self._mask_color.publish(color_view(header, result))
        self._publish_status(header, result.mix, result.support)

    def publish_swap(self, event: SwapEvent, *, frame_id: str) -> None:
        """Publish one attempt to change the adapters."""
        header = Header(stamp=conversions.time_message(event.stamp_ns), frame_id=frame_id)
        self._swap.publish(conversions.swap_message(header, event))

    def announce_engine(self, status: EngineStatus, header: Header) -> None:
        """Publish which engine serves and how it is, if that changed, and every so often."""
        if self._told_engine.due(status):
            engine, state, detail = status.serving, status.state, status.detail
            self._engine.publish(
                EngineState(header=header, engine=engine, state=state, detail=detail)
            )

    def announce_capture(self, report: CaptureReport, header: Header) -> None:
        """Publish how much is kept of frames that the library does not cover, if it changed."""
        if self._told_capture.due(report):
            self._capture.publish(conversions.capture_message(header, report))

    def publish_stale(self, header: Header, mix: AdapterMix, *, observed_ns: int) -> None:
        """Publish that there is no usable image; no mask with it."""
        stale = SupportReading.stale(observed_ns=observed_ns, age_s=math.nan)
        self._support.publish(conversions.support_message(header, stale, mix))
        self._publish_status(header, mix, stale)

    def publish_debug(self, **values_s: float | None) -> None:
        """Publish durations in s under `~/debug/<name>`, those that are known and listened to."""
        for name, value in values_s.items():
            publisher = self._debug[name]
            if value is not None and publisher.get_subscription_count():
                publisher.publish(Float64(data=float(value)))

    def publish_stages(
        self,
        header: Header,
        *,
        ages_s: Mapping[str, float | None],
        stages_ms: Mapping[str, float],
    ) -> None:
        """Publish where the time of one frame went, under its header, if anybody listens.

        Args:
            header: Of the frame.
            ages_s: Its age at some points of the way, None where that is not known.
            stages_ms: How long its stages took.
        """
        if self._stages.get_subscription_count():
            known = {name: age_s for name, age_s in ages_s.items() if age_s is not None}
            took = {name: ms * 1e-3 for name, ms in stages_ms.items()}
            self._stages.publish(conversions.stages_message(header, {**known, **took}))

    def destroy(self) -> None:
        """Remove all publishers."""
        for each in self._all:
            self._node.destroy_lifecycle_publisher(each)
        self._all.clear()

    def _publish_status(
        self, header: Header, mix: AdapterMix, support: SupportReading | None
    ) -> None:
        if self._status.get_subscription_count():
            from semla_ros.nodes.views import status_view

            self._status.publish(status_view(header, mix, support))

    def _publisher(
        self, kind: type[Any], name: str, profile: QoSProfile
    ) -> LifecyclePublisher[Any]:
        topic = self._node.resolve_topic_name(name)
        try:
            publisher = self._node.create_lifecycle_publisher(
                kind,
                name,
                profile,
                event_callbacks=qos.publisher_events(topic, self._note),
                qos_overriding_options=qos.overridable(),
            )
        except BaseException:
            self.destroy()
            raise
        self._all.append(publisher)
        return publisher
