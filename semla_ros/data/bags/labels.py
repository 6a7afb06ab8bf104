"""Label images out of recordings: ids as they were published, never made into colours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from semla_ros.core.errors import BagError
from semla_ros.data.bags.image_messages import decoded
from semla_ros.data.bags.opening import NoteSink
from semla_ros.data.bags.recording import (
    COMPRESSED,
    choose_topic,
    log_note,
    stored_messages,
)
from semla_ros.data.bags.topics import sound_stamp_ns

_KINDS = {
    "mono8": (np.uint8, 1),
    "8UC1": (np.uint8, 1),
    "mono16": (np.uint16, 1),
    "16UC1": (np.uint16, 1),
    "32SC1": (np.int32, 1),
    "rgb8": (np.uint8, 3),
    "bgr8": (np.uint8, 3),
}


@dataclass(frozen=True, slots=True)
class StampedLabels:
    """One message of a label topic.

    Attributes:
        stamp_ns: Of its header; the time of recording where that is zero.
        labels: (H, W) ids, or (H, W, 3) RGB; None if the message is unusable.
        png: The file where the message is a compressed one, for whoever decodes it.
        error: Why it is unusable.
    """

    stamp_ns: int
    labels: npt.NDArray[Any] | None = None
    png: bytes = b""
    error: str = ""


def read_labels(
    path: Path, topic: str, *, max_pixels: int, on_note: NoteSink = log_note
) -> Iterator[StampedLabels]:
    """Yield the messages of the label topic `topic` in recorded order.

    Raises:
        BagError: No recording, or no image topic of that name; at the first `next`.
    """
    chosen = choose_topic(path, topic, on_note=on_note)
    for stored in stored_messages(path, chosen, on_note=on_note):
        try:
            message = decoded(stored.data, stored.msgtype, ros1=stored.ros1)
        except BagError as error:
            yield StampedLabels(stored.recorded_ns, error=f"message cannot be parsed: {error}")
            continue
        try:
            stamp = sound_stamp_ns(message) or stored.recorded_ns
        except BagError as error:
            yield StampedLabels(stored.recorded_ns, error=str(error))
            continue
        if chosen.msgtype == COMPRESSED:
            yield StampedLabels(stamp, png=bytes(message.data))
            continue
        try:
            yield StampedLabels(stamp, labels_of(message, max_pixels))
        except BagError as error:
            yield StampedLabels(stamp, error=str(error))


def labels_of(message: Any, max_pixels: int) -> npt.NDArray[Any]:  # noqa: ANN401  made by rosbags
    """Return the ids (H, W) or colours (H, W, 3) of a `sensor_msgs/Image`.

    Raises:
        BagError: Another encoding, or its sizes do not fit its data.
    """
    encoding, height, width = str(message.encoding), int(message.height), int(message.width)
    if encoding not in _KINDS:
        raise BagError(f"expected labels as {', '.join(_KINDS)}, got {encoding!r}")
    kind, channels = _KINDS[encoding]
    dtype = np.dtype(kind).newbyteorder(">" if message.is_bigendian else "<")
    step, row = int(message.step), width * channels * dtype.itemsize
    if not 0 < height * width <= max_pixels or step < row or len(message.data) != step * height:
        raise BagError(
            f"expected {width} x {height} labels of {encoding} in step x height = {step} x "
            f"{height} bytes, at most {max_pixels} pixels, got {len(message.data)} bytes"
        )
    packed = np.frombuffer(message.data, np.uint8).reshape(height, step)[:, :row]
    values: npt.NDArray[Any] = np.ascontiguousarray(packed).view(dtype).astype(kind, copy=False)
    if channels == 1:
        return values.reshape(height, width)
    rgb = values.reshape(height, width, channels)
    return np.ascontiguousarray(rgb[..., ::-1]) if encoding == "bgr8" else rgb
