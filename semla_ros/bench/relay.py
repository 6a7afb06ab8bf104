"""Answers each image with an empty mask at once: what transport and stopwatch take by themselves.

    python -m semla_ros.bench.relay --ros-args -r image:=/camera/image_raw

Has the topics that the stopwatch waits for, with the node's quality of service.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image

from semla_ros.msg import AdapterSwap
from semla_ros.nodes import qos
from semla_ros.nodes.conversions import mask_message, stages_message
from semla_ros.nodes.latency import prefer_latency
from semla_ros.nodes.segmenter_node import NODE_NAME
from semla_ros.nodes.signals import ros_process, spin_until


class Relay(Node):
    """Takes raw images, publishes masks of their size and a network time of zero."""

    def __init__(self) -> None:
        """Create the topics of the node that the stopwatch takes the time of."""
        super().__init__(NODE_NAME, start_parameter_services=False)
        self._mask = self.create_publisher(Image, "~/mask", qos.output_qos())
        self._stages = self.create_publisher(DiagnosticArray, "~/debug/stages", qos.output_qos())
        self.create_publisher(AdapterSwap, "~/swap", qos.output_qos())
        self.create_subscription(Image, "image", self._answer, qos.camera_qos())

    def _answer(self, image: Image) -> None:
        labels = np.zeros((image.height, image.width), np.uint8)
        self._mask.publish(mask_message(image.header, labels))
        self._stages.publish(stages_message(image.header, {"infer": 0.0}))


def main(argv: Sequence[str] | None = None) -> int:
    """Relay until SIGINT or SIGTERM; return the exit code."""
    prefer_latency()
    with ros_process(argv) as stop:
        executor = SingleThreadedExecutor()
        executor.add_node(Relay())
        try:
            spin_until(lambda: bool(stop), executor)
        finally:
            executor.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
