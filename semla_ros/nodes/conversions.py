"""Messages to core data and back; headers are copied verbatim, rows are never padded.

The generated C code aborts the process on a field of another Python type (an int where a float
is declared), so every number is converted here.
"""

from __future__ import annotations

import array
import functools
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from vision_msgs.msg import LabelInfo, VisionClass

from semla_ros import msg
from semla_ros.core.answers import SUPPORT_LEVELS, SupportReading, SwapEvent
from semla_ros.core.errors import FrameError
from semla_ros.core.files.image_codec import FULL_BITS, check_raw, decode_image
from semla_ros.core.types import (
    UNLABELED_NAME,
    AdapterMix,
    DomainEstimate,
    Frame,
    UInt8Array,
    Vocabulary,
)
from semla_ros.navigator.support import distances_to
from semla_ros.nodes.capture import CaptureReport
from semla_ros.pipeline.hint import HintWatch

_BILLION = 1_000_000_000
_BRIDGED: Mapping[str, int] = {
    **{"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1},
    **{f"bayer_{pattern}8": 1 for pattern in ("rggb", "bggr", "gbrg", "grbg")},
}
"""Encodings that cv_bridge converts to rgb8 exactly as `image_codec` does -> bytes a pixel."""


def stamp_ns(time: Time) -> int:
    """Return a message time in nanoseconds."""
    return int(time.sec) * _BILLION + int(time.nanosec)


def time_message(nanoseconds: int) -> Time:
    """Return nanoseconds as a message time."""
    seconds, rest = divmod(int(nanoseconds), _BILLION)
    return Time(sec=seconds, nanosec=rest)


def frame_from_image(
    message: Image, *, max_pixels: int, significant_bits: int = FULL_BITS
) -> Frame:
    """Return the frame in a raw image.

    Raises:
        FrameError: The image is malformed, too large or of an unknown encoding.
    """
    convert = _cv_bridge()
    if convert is not None and suits_cv_bridge(message):
        check_raw(
            len(message.data),
            height=message.height,
            width=message.width,
            encoding=message.encoding,
            step=message.step,
            max_pixels=max_pixels,
        )
        rgb = convert(message)
    else:
        rgb = decode_image(message, max_pixels=max_pixels, significant_bits=significant_bits)
    return Frame(stamp_ns(message.header.stamp), message.header.frame_id, rgb)


def frame_from_compressed(
    message: CompressedImage, *, max_pixels: int, significant_bits: int = FULL_BITS
) -> Frame:
    """Return the frame in a JPEG, PNG or WebP image.

    Raises:
        FrameError: The image is damaged, too large or of another kind.
    """
    from semla_ros.core.files.compressed_image import decode_compressed  # only such cameras

    rgb = decode_compressed(
        message.data, message.format, max_pixels=max_pixels, significant_bits=significant_bits
    )
    return Frame(stamp_ns(message.header.stamp), message.header.frame_id, rgb)


def suits_cv_bridge(message: Image) -> bool:
    """Return whether cv_bridge converts `message` right.

    Its Python counts the padding of a row as pixels, and shears the image where that is no whole
    number of them.
    """
    pixel_bytes = _BRIDGED.get(message.encoding, 0)
    return pixel_bytes > 0 and message.step == message.width * pixel_bytes


@functools.cache
def _cv_bridge() -> Callable[[Image], UInt8Array] | None:
    """Return cv_bridge's conversion to rgb8, None where it is not installed or does not load."""
    try:
        from cv_bridge import CvBridge, CvBridgeError
    except (ImportError, AttributeError):  # AttributeError: built for another NumPy
        return None
    bridge = CvBridge()

    def convert(message: Image) -> UInt8Array:
        try:
            rgb: UInt8Array = bridge.imgmsg_to_cv2(message, desired_encoding="rgb8")
        except CvBridgeError as error:
            raise FrameError(f"cv_bridge refuses {message.encoding!r}: {error}") from error
        return rgb

    return convert


def image_message(header: Header, pixels: npt.NDArray[Any], encoding: str) -> Image:
    """Return an image message of `pixels` (H, W) or (H, W, C), step = the row without padding."""
    packed = np.ascontiguousarray(pixels)
    # one copy through the buffer protocol: any other type is walked element by element
    data = array.array("B")
    data.frombytes(packed.data.cast("B"))
    return Image(
        header=header,
        height=packed.shape[0],
        width=packed.shape[1],
        encoding=encoding,
        is_bigendian=int(sys.byteorder == "big"),
        step=packed.strides[0],
        data=data,
    )


def mask_message(header: Header, labels: npt.NDArray[Any]) -> Image:
    """Return the label image, mono8 or mono16 by the type of `labels` (H, W)."""
    return image_message(header, labels, "mono8" if labels.dtype == np.uint8 else "mono16")


def label_info_message(header: Header, vocabulary: Vocabulary) -> LabelInfo:
    """Return the meaning of every value a mask can hold, the reserved one included."""
    classes = [VisionClass(class_id=i, class_name=n) for i, n in enumerate(vocabulary.names)]
    classes.append(VisionClass(class_id=vocabulary.unlabeled_id, class_name=UNLABELED_NAME))
    return LabelInfo(header=header, class_map=classes, threshold=0.0)


def support_message(header: Header, reading: SupportReading, mix: AdapterMix) -> msg.SupportScore:
    """Return the support of one frame."""
    return msg.SupportScore(
        header=header,
        score=float(reading.score),
        smoothed_score=float(reading.smoothed),
        nearest_adapter=reading.nearest,
        nearest_distance=float(reading.nearest_distance),
        novelty=float(reading.novelty),
        expected_miou=float(reading.expected_miou),
        miou_lower=float(reading.miou_lower),
        level=SUPPORT_LEVELS.index(reading.level),
        observed=time_message(reading.observed_ns),
        age_s=float(reading.age_s),
        mix_id=mix.identity,
    )


def mix_message(mix: AdapterMix, estimate: DomainEstimate | None = None) -> msg.AdapterMix:
    """Return a mix; distances are NaN where nothing was measured."""
    members = zip(mix.names, mix.weights, distances_to(mix.names, estimate), strict=True)
    adapters = [
        msg.AdapterWeight(name=name, weight=float(weight), distance=distance)
        for name, weight, distance in members
    ]
    return msg.AdapterMix(adapters=adapters, id=mix.identity)


def mix_state_message(
    header: Header,
    mix: AdapterMix,
    estimate: DomainEstimate | None,
    *,
    state: int,
    since_ns: int,
    generated: Collection[str] = (),
    hint: HintWatch,
) -> msg.MixState:
    """Return what serves now; `generated` are the library's adapters made from words."""
    return msg.MixState(
        header=header,
        mix=mix_message(mix, estimate),
        generated=[name for name in mix.names if name in generated],
        state=state,
        since=time_message(since_ns),
        hint=hint.text,
        hint_share=float(hint.share),
    )


def stages_message(header: Header, stages_s: Mapping[str, float]) -> DiagnosticArray:
    """Return the durations of one frame's stages in s, one value for each."""
    values = [KeyValue(key=name, value=f"{seconds:.7f}") for name, seconds in stages_s.items()]
    status = DiagnosticStatus(level=DiagnosticStatus.OK, name="stages_s", values=values)
    return DiagnosticArray(header=header, status=[status])


def swap_message(header: Header, event: SwapEvent) -> msg.AdapterSwap:
    """Return one attempt to change the adapters."""
    return msg.AdapterSwap(
        header=header,
        from_mix=mix_message(event.from_mix),
        to_mix=mix_message(event.to_mix),
        reason=event.reason,
        committed=bool(event.committed),
        error=event.error,
        detection_s=float(event.detection_ms) * 1e-3,
        fuse_s=float(event.fuse_ms) * 1e-3,
        load_s=float(event.load_ms) * 1e-3,
        stall_s=float(event.stall_ms) * 1e-3,
        ready_s=float(event.ready_ms) * 1e-3,
    )


def capture_message(header: Header, report: CaptureReport) -> msg.CaptureState:
    """Return how much is kept of frames that the library does not cover."""
    return msg.CaptureState(
        header=header,
        state=report.state,
        detail=report.detail,
        folder=report.folder,
        frames=report.frames,
        size_bytes=report.nbytes,
        limit_bytes=report.max_bytes,
        kept=report.kept,
        alike=report.alike,
        failed=report.failed,
    )
