"""What a camera that misbehaves on command sends: see `probe`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from semla_ros.core.errors import SemlaError
from semla_ros.core.types import UInt8Array
from semla_ros.nodes.conversions import image_message

FRAME_ID = "drill_camera"
_STAMP_AT_START_NS = 1_700_000_000_000_000_000


class Picture(NamedTuple):
    """One image: a group of the file, which of it, (height, width) and what is wrong with it."""

    group: str
    number: int
    size: tuple[int, int]
    broken: str


def message_of(rgb: UInt8Array, *, broken: str, compressed: bool) -> Image | CompressedImage:
    """Return the image message of `rgb`, spoilt as `broken` says (empty: not at all)."""
    header = Header(frame_id=FRAME_ID)
    if compressed:
        data = cv2.imencode(".jpg", rgb[..., ::-1])[1].tobytes()
        end = len(data) // 2 if broken == "truncated" else len(data)
        return CompressedImage(header=header, format="rgb8; jpeg compressed bgr8", data=data[:end])
    if broken == "nan":
        nothing = np.full(rgb.shape, np.nan, np.float32)
        return image_message(header, nothing, "32FC3")
    message = image_message(header, rgb, "rgb8")
    if broken == "encoding":
        message.encoding = "yuv999"
    elif broken == "truncated":
        message.data = message.data[: len(message.data) // 2]
    elif broken == "step":
        message.step = 7
    elif broken:
        raise SemlaError(f"expected encoding, truncated, step or nan, got {broken!r}")
    return message


class Script:
    """What the camera does from now on.

    Keys of `order`: `hz`; `pictures`, groups of the file, each for `turn_s` in turns; `size` (or
    several: one after the other); `broken` and `every`: what is wrong with every so many; `burst`:
    how many at once; `stamps`: now, zero, constant or loop (every `loop_s`); `offset_s` is added
    to every `offset_every` stamp.
    """

    def __init__(self, order: Mapping[str, Any]) -> None:
        self._order = order
        self._start_ns = time.time_ns()
        self._number = -1
        self.hz = float(order.get("hz", 0.0))
        self.burst = int(order.get("burst", 1))

    def next(self, counts: Mapping[str, int]) -> tuple[Picture, int]:
        """Return the next picture and its stamp in ns."""
        order, self._number = self._order, self._number + 1
        number, now = self._number, time.time_ns()
        groups, sizes = order["pictures"], order["sizes"]
        elapsed_s = (now - self._start_ns) * 1e-9
        group = groups[int(elapsed_s / float(order.get("turn_s", 4.0))) % len(groups)]
        broken = str(order.get("broken", "")) if number % int(order.get("every", 1)) == 0 else ""
        height, width = sizes[number % len(sizes)]
        picture = Picture(group, number % counts[group], (height, width), broken)
        return picture, self._stamp(number, now)

    def _stamp(self, number: int, now: int) -> int:
        order, kind = self._order, self._order.get("stamps", "now")
        stamp = {"zero": 0, "constant": _STAMP_AT_START_NS}.get(kind, now)
        if kind == "loop":
            period = round(float(order["loop_s"]) * 1e9)
            stamp = self._start_ns + (now - self._start_ns) % period
        if (number + 1) % int(order.get("offset_every", 1)) == 0:
            stamp += round(float(order.get("offset_s", 0.0)) * 1e9)
        return stamp
