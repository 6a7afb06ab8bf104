"""Pictures of an answer for people; imported when somebody first subscribes to one."""

from __future__ import annotations

import cv2
import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from semla_ros.core.answers import SegmentationResult, SupportReading
from semla_ros.core.types import AdapterMix, Frame, UInt8Array
from semla_ros.core.viz.overlay import colorize, lut_of, overlay
from semla_ros.core.viz.status import status
from semla_ros.nodes.conversions import image_message


def overlay_view(header: Header, frame: Frame, result: SegmentationResult, alpha: float) -> Image:
    """Return the camera image under the class colours, of the mask's size.

    Args:
        header: Of the image.
        frame: What the camera saw.
        result: Its answer.
        alpha: Opacity of the colours, 0 to 1.
    """
    height, width = result.labels.shape
    rgb: UInt8Array = frame.rgb
    if rgb.shape[:2] != (height, width):  # output_size: model
        rgb = np.asarray(cv2.resize(rgb, (width, height)), np.uint8)
    picture = overlay(rgb, result.labels, lut_of(result.vocabulary), alpha=alpha)
    return image_message(header, picture, "rgb8")


def color_view(header: Header, result: SegmentationResult) -> Image:
    """Return the mask in the colours of its classes."""
    return image_message(header, colorize(result.labels, lut_of(result.vocabulary)), "rgb8")


def status_view(header: Header, mix: AdapterMix, support: SupportReading | None) -> Image:
    """Return the picture of what serves and how far to trust it."""
    return image_message(header, status(mix, support), "rgb8")
