"""What the running node published, read from a recording of its topics as a replay's result.

One form for both, so that live and replay are compared frame by frame.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semla_ros.core.answers import SUPPORT_LEVELS, SupportReading, SwapEvent
from semla_ros.core.errors import BagError, EvaluationError
from semla_ros.core.types import AdapterMix, LabelArray
from semla_ros.data.bags.labels import labels_of
from semla_ros.data.bags.reader import image_topics
from semla_ros.data.bags.topics import read_topic, sound_stamp_ns, stamp_ns
from semla_ros.evaluation.replay import mask_crc32
from semla_ros.evaluation.result import FrameRecord, ReplayResult, RunInfo, SkippedRecord

CAMERA = "/camera/image_raw"
NODE = "/segmenter"
RECORDED = (
    "mask",
    "mask_color",
    "confidence",
    "support",
    "mix",
    "swap",
    "label_info",
    "legend",
)
"""The node's topics that a live recording holds, for the comparison and for people."""
IMAGE = "sensor_msgs/msg/Image"
_ENCODINGS = ("mono8", "mono16")
_MAX_PIXELS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class LiveMask:
    """One published mask.

    Attributes:
        stamp_ns, frame_id: Of its header, which is the image's.
        labels: (H, W).
        recorded_ns: When it reached the recorder.
    """

    stamp_ns: int
    frame_id: str
    labels: LabelArray
    recorded_ns: int


def read_live(recording: Path, *, node: str = NODE) -> ReplayResult:
    """Return what the node answered to every image in `recording`.

    `timings_ms["latency"]` runs from the image's to the mask's arrival at the recorder. An image
    without a mask is a skipped frame.

    Args:
        recording: Camera topic and the node's topics, as `semla record` and the launch file
            record.launch.py write it.
        node: Resolved name of the node.

    Raises:
        BagError: Not readable.
        EvaluationError: It holds no image, or no mask of `node`.
    """
    try:
        return _read_live(recording, node)
    except (LookupError, ValueError, OverflowError) as error:
        raise EvaluationError(
            f"{str(recording)!r}: a message of {node!r} is malformed ({error}): record it again"
        ) from error


def _read_live(recording: Path, node: str) -> ReplayResult:
    camera = camera_arrivals(recording, node=node)
    mixes, supports = read_mixes(recording, node=node), read_supports(recording, node=node)
    served = _read_served(recording, node)
    frames: dict[int, FrameRecord] = {}
    order = {stamp: index for index, stamp in enumerate(camera)}
    for mask in read_masks(recording, f"{node}/mask"):
        if mask.stamp_ns not in order:
            continue
        latency = (mask.recorded_ns - camera[mask.stamp_ns]) * 1e-6
        frames[mask.stamp_ns] = FrameRecord(
            index=order[mask.stamp_ns],
            stamp_ns=mask.stamp_ns,
            frame_id=mask.frame_id,
            mix=served.get(mask.stamp_ns) or mix_at(mixes, mask.stamp_ns),
            support=supports.get(mask.stamp_ns),
            timings_ms={"latency": latency},
            mask_crc32=mask_crc32(mask.labels),
        )
    if not frames:
        raise EvaluationError(
            f"expected masks of {node!r} in {str(recording)!r}, found none: record the camera's "
            f"topic and {node}/mask together"
        )
    skipped = [
        SkippedRecord(order[s], s, "no mask was published") for s in camera if s not in frames
    ]
    return ReplayResult(
        info=RunInfo(source=str(recording), topic=f"{node}/mask"),
        frames=tuple(sorted(frames.values(), key=lambda frame: frame.index)),
        skipped=tuple(skipped),
        swaps=read_swaps(recording, node=node),
    )


def camera_arrivals(recording: Path, *, node: str = NODE) -> dict[int, int]:
    """Return header stamp -> arrival at the recorder, both ns, of every camera image.

    Raises:
        EvaluationError: Not exactly one image topic beside those of `node`.
    """
    topics = [t for t in image_topics(recording) if not t.name.startswith(f"{node}/")]
    if len(topics) != 1:
        raise EvaluationError(
            f"expected one camera topic beside {node}/… in {str(recording)!r}, "
            f"got {[t.name for t in topics]!r}"
        )
    camera = topics[0]
    arrivals: dict[int, int] = {}
    for each in read_topic(recording, camera.name, camera.msgtype):
        with suppress(BagError):  # a stamp that is no time: replay skips such a frame too
            arrivals[sound_stamp_ns(each.message)] = each.recorded_ns
    return arrivals


def read_masks(recording: Path, topic: str) -> Iterator[LiveMask]:
    """Yield the label (or confidence) images of `topic`.

    Raises:
        EvaluationError: One is no such image.
    """
    for each in read_topic(recording, topic, IMAGE):
        message, where = each.message, f"{topic} in {str(recording)!r}"
        if message.encoding not in _ENCODINGS:
            raise EvaluationError(
                f"{where}: expected masks as {' or '.join(_ENCODINGS)}, got {message.encoding!r}"
            )
        try:
            labels = labels_of(message, _MAX_PIXELS)
        except BagError as error:
            raise EvaluationError(f"{where} is no mask: {error}") from error
        yield LiveMask(stamp_ns(message), message.header.frame_id, labels, each.recorded_ns)


def read_supports(recording: Path, *, node: str = NODE) -> dict[int, SupportReading]:
    """Return the support of every frame by its stamp; STALE ones, which have no frame, too."""
    messages = read_topic(recording, f"{node}/support", "semla_ros/msg/SupportScore")
    return {stamp_ns(m.message): _support(m.message) for m in messages}


def read_mixes(recording: Path, *, node: str = NODE) -> Sequence[tuple[int, AdapterMix]]:
    """Return (stamp since when, mix), in order."""
    messages = read_topic(recording, f"{node}/mix", "semla_ros/msg/MixState")
    found = [(_ns(m.message.since), _mix(m.message.mix)) for m in messages]
    return sorted(found, key=lambda item: item[0])


def _read_served(recording: Path, node: str) -> dict[int, AdapterMix]:
    """Return the mix of every frame that has support, by the frame's stamp.

    A swap between two frames carries the stamp of the one before it, which the old mix made; the
    support of a frame names the mix that made its mask.
    """
    states = read_topic(recording, f"{node}/mix", "semla_ros/msg/MixState")
    known = {str(m.message.mix.id): _mix(m.message.mix) for m in states}
    supports = read_topic(recording, f"{node}/support", "semla_ros/msg/SupportScore")
    ids = {stamp_ns(m.message): str(m.message.mix_id) for m in supports}
    return {stamp: known[name] for stamp, name in ids.items() if name in known}


def mix_at(mixes: Sequence[tuple[int, AdapterMix]], stamp: int) -> AdapterMix:
    """Return the mix that served at `stamp`."""
    active = AdapterMix.base_only()
    for since, mix in mixes:
        if since <= stamp:
            active = mix
    return active


def read_swaps(recording: Path, *, node: str = NODE) -> tuple[SwapEvent, ...]:
    """Return every attempt to change the adapters."""
    messages = read_topic(recording, f"{node}/swap", "semla_ros/msg/AdapterSwap")
    return tuple(_swap(m.message) for m in messages)


def _ns(time: Any) -> int:  # noqa: ANN401  a decoded message
    return int(time.sec) * 1_000_000_000 + int(time.nanosec)


def _support(message: Any) -> SupportReading:  # noqa: ANN401  a decoded message
    return SupportReading(
        score=float(message.score),
        smoothed=float(message.smoothed_score),
        nearest=str(message.nearest_adapter),
        nearest_distance=float(message.nearest_distance),
        level=SUPPORT_LEVELS[int(message.level)],
        observed_ns=_ns(message.observed),
        novelty=float(message.novelty),
        expected_miou=float(message.expected_miou),
        miou_lower=float(message.miou_lower),
        age_s=float(getattr(message, "age_s", math.nan)),  # recordings of 0.1 have none
    )


def _mix(message: Any) -> AdapterMix:  # noqa: ANN401  a decoded message
    return AdapterMix.from_weights({str(a.name): float(a.weight) for a in message.adapters})


def _swap(message: Any) -> SwapEvent:  # noqa: ANN401  a decoded message
    return SwapEvent(
        stamp_ns(message),
        _mix(message.from_mix),
        _mix(message.to_mix),
        str(message.reason),
        bool(message.committed),
        str(message.error),
        detection_ms=1e3 * float(message.detection_s),
        fuse_ms=1e3 * float(message.fuse_s),
        load_ms=1e3 * float(message.load_s),
        stall_ms=1e3 * float(message.stall_s),
        ready_ms=1e3 * float(message.ready_s),
    )
