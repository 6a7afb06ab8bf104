"""What this package records, as nested mappings for `BagWriter.write`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import cv2
import numpy as np

from semla_ros.core.answers import SUPPORT_LEVELS, SupportReading, SwapEvent
from semla_ros.core.errors import BagError
from semla_ros.core.types import AdapterMix, DomainEstimate, UInt8Array, Vocabulary
from semla_ros.navigator.support import distances_to

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
LABEL_INFO = "vision_msgs/msg/LabelInfo"
SUPPORT_SCORE = "semla_ros/msg/SupportScore"
HINT = "semla_ros/msg/Hint"
MIX_STATE = "semla_ros/msg/MixState"
ADAPTER_SWAP = "semla_ros/msg/AdapterSwap"

FOLLOWING = 0
Fields = dict[str, Any]
_ENCODINGS = {("uint8", 2): "mono8", ("uint16", 2): "mono16", ("uint8", 3): "rgb8"}


def time_fields(stamp_ns: int) -> Fields:
    """Return a `builtin_interfaces/Time`."""
    return {"sec": stamp_ns // 1_000_000_000, "nanosec": stamp_ns % 1_000_000_000}


def header_fields(stamp_ns: int, frame_id: str) -> Fields:
    """Return a `std_msgs/Header`."""
    return {"stamp": time_fields(stamp_ns), "frame_id": frame_id}


def image_fields(image: np.ndarray[Any, Any], *, stamp_ns: int, frame_id: str) -> Fields:
    """Return a raw image: mono8 or mono16 of (H, W), rgb8 of (H, W, 3).

    Raises:
        BagError: Another shape or dtype.
    """
    encoding = _ENCODINGS.get((image.dtype.name, image.ndim))
    if encoding is None:
        raise BagError(
            "expected an image (H, W) of uint8 or uint16, or (H, W, 3) of uint8, "
            f"got {image.shape} of {image.dtype}"
        )
    data = np.ascontiguousarray(image, dtype=image.dtype.newbyteorder("<"))
    return {
        "header": header_fields(stamp_ns, frame_id),
        "height": image.shape[0],
        "width": image.shape[1],
        "encoding": encoding,
        "is_bigendian": 0,
        "step": data.strides[0],
        "data": data.reshape(-1).view(np.uint8),
    }


def jpeg_fields(rgb: UInt8Array, *, stamp_ns: int, frame_id: str, quality: int = 85) -> Fields:
    """Return a JPEG of (H, W, 3) RGB."""
    data = encoded(rgb[..., ::-1], ".jpg", quality=quality)
    return _compressed(data, "rgb8; jpeg compressed bgr8", stamp_ns, frame_id)


def png_fields(labels: np.ndarray[Any, Any], *, stamp_ns: int, frame_id: str) -> Fields:
    """Return a PNG of a (H, W) label image of uint8 or uint16; lossless."""
    kind = "mono8" if labels.dtype == np.uint8 else "mono16"
    return _compressed(encoded(labels, ".png"), f"{kind}; png compressed ", stamp_ns, frame_id)


def _compressed(data: UInt8Array, form: str, stamp_ns: int, frame_id: str) -> Fields:
    return {"header": header_fields(stamp_ns, frame_id), "format": form, "data": data}


def encoded(image: np.ndarray[Any, Any], suffix: str, *, quality: int = 85) -> UInt8Array:
    """Return the file content of an image (BGR or one channel) as `.jpg` or `.png`.

    Raises:
        BagError: OpenCV cannot encode it.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == ".jpg" else []
    done, data = cv2.imencode(suffix, np.ascontiguousarray(image), options)
    if not done:
        raise BagError(f"an image of shape {image.shape} cannot be encoded as {suffix!r}")
    return np.asarray(data, dtype=np.uint8).reshape(-1)


def label_info_fields(vocabulary: Vocabulary, *, stamp_ns: int, frame_id: str) -> Fields:
    """Return what every value of the mask means, the unlabelled one included."""
    entries = [*enumerate(vocabulary.names), (vocabulary.unlabeled_id, "unlabeled")]
    return {
        "header": header_fields(stamp_ns, frame_id),
        "class_map": [{"class_id": i, "class_name": name} for i, name in entries],
        "threshold": 0.0,
    }


def support_fields(
    support: SupportReading, mix: AdapterMix, *, stamp_ns: int, frame_id: str
) -> Fields:
    """Return a `SupportScore`."""
    return {
        "header": header_fields(stamp_ns, frame_id),
        "score": support.score,
        "smoothed_score": support.smoothed,
        "nearest_adapter": support.nearest,
        "nearest_distance": support.nearest_distance,
        "novelty": support.novelty,
        "expected_miou": support.expected_miou,
        "miou_lower": support.miou_lower,
        "level": SUPPORT_LEVELS.index(support.level),
        "observed": time_fields(support.observed_ns),
        "age_s": support.age_s,
        "mix_id": mix.identity,
    }


def mix_fields(mix: AdapterMix, estimate: DomainEstimate | None = None) -> Fields:
    """Return an `AdapterMix`; distances are NaN where nothing was measured."""
    members = zip(mix.names, mix.weights, distances_to(mix.names, estimate), strict=True)
    adapters = [{"name": n, "weight": w, "distance": d} for n, w, d in members]
    return {"adapters": adapters, "id": mix.identity}


def mix_state_fields(
    mix: AdapterMix,
    estimate: DomainEstimate | None,
    *,
    stamp_ns: int,
    frame_id: str,
    since_ns: int,
    generated: Collection[str] = (),
    hint: str = "",
    hint_share: float = 0.0,
) -> Fields:
    """Return a `MixState` that follows the scene; `generated`: adapters made from words."""
    return {
        "header": header_fields(stamp_ns, frame_id),
        "mix": mix_fields(mix, estimate),
        "generated": [name for name in mix.names if name in generated],
        "state": FOLLOWING,
        "since": time_fields(since_ns),
        "hint": hint,
        "hint_share": hint_share,
    }


def swap_fields(swap: SwapEvent, *, frame_id: str) -> Fields:
    """Return an `AdapterSwap`."""
    return {
        "header": header_fields(swap.stamp_ns, frame_id),
        "from_mix": mix_fields(swap.from_mix),
        "to_mix": mix_fields(swap.to_mix),
        "reason": swap.reason,
        "committed": swap.committed,
        "error": swap.error,
        "detection_s": swap.detection_ms * 1e-3,
        "fuse_s": swap.fuse_ms * 1e-3,
        "load_s": swap.load_ms * 1e-3,
        "stall_s": swap.stall_ms * 1e-3,
        "ready_s": swap.ready_ms * 1e-3,
    }
