"""The camera as the node takes it: subscription, losses on the way, images as frames."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CompressedImage, Image

from semla_ros.core.config import Config
from semla_ros.core.files.image_codec import dark_note
from semla_ros.core.types import Frame
from semla_ros.nodes import conversions, qos
from semla_ros.nodes.transport_loss import TransportLoss

_log = logging.getLogger(__name__)

ImageMessage: TypeAlias = Image | CompressedImage


class Camera:
    """A subscription of the topic `image`, raw or compressed, for as long as the node is active.

    Attributes:
        topic: Resolved name of the topic.
        incompatible: Publishers seen whose QoS does not fit.
        losses: Images that never came.
    """

    def __init__(
        self, node: LifecycleNode, config: Config, receive: Callable[[ImageMessage], None]
    ) -> None:
        """Subscribe; `receive` is called with every image that comes."""
        self._node = node
        self._receive = receive
        self._told_dark = False
        self.incompatible = 0
        self.losses = TransportLoss(self.publishers)
        compressed = config.image_transport == "compressed"
        events = config.executor == "events"
        self.topic = node.resolve_topic_name("image")
        if compressed and not self.topic.endswith("/compressed"):
            self.topic += "/compressed"
        self._subscription = node.create_subscription(
            CompressedImage if compressed else Image,
            self.topic,
            # The events executor gives no callback a message's info: rclpy ends with SystemError.
            self._arrived_alone if events else self._arrived,
            qos.camera_qos(),
            callback_group=MutuallyExclusiveCallbackGroup(),
            event_callbacks=qos.subscription_events(
                self.topic,
                self._mismatch,
                # Nor does it survive events at the end of a subscription.
                lost=None if events else self.losses.reported,
            ),
            qos_overriding_options=qos.overridable(),
        )

    def close(self) -> None:
        """Receive nothing more."""
        self._node.destroy_subscription(self._subscription)

    def publishers(self) -> int:
        """Return how many publishers the topic has."""
        return int(self._node.count_publishers(self.topic))

    def frame(self, message: ImageMessage, config: Config, *, arrival_ns: int) -> Frame:
        """Return the frame in `message`; log once where its values use few of their bits.

        Raises:
            FrameError: The image is malformed, damaged, too large or of an unknown encoding.
        """
        bits = config.significant_bits
        if isinstance(message, CompressedImage):
            encoding, convert = message.format, conversions.frame_from_compressed
        else:
            encoding, convert = message.encoding, conversions.frame_from_image
        frame = convert(message, max_pixels=config.max_pixels, significant_bits=bits)
        if not self._told_dark:
            note = dark_note(frame.rgb, encoding, bits)
            self._told_dark = bool(note)
            if note:
                _log.warning("%s", note)
        return replace(frame, arrival_ns=arrival_ns)

    def _arrived(self, message: ImageMessage, info: Mapping[str, Any]) -> None:
        self.losses.arrived(info, conversions.stamp_ns(message.header.stamp))
        self._receive(message)

    def _arrived_alone(self, message: ImageMessage) -> None:
        self._arrived(message, {})

    def _mismatch(self, text: str) -> None:
        self.incompatible += 1
        _log.error("%s", text)
