"""The demo drive: rendered once, with truth, and what the node answered to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from semla_ros.answers import SUPPORT_LEVELS, SegmentationResult, SupportReading, SwapEvent
from semla_ros.bags.messages import image_fields
from semla_ros.bags.topics import read_topic, stamp_ns
from semla_ros.bags.writer import BagWriter
from semla_ros.demo.live import ADAPTERS, CAMERA, CONFIDENCE, MASK, SUPPORT, SWAP, LiveRun
from semla_ros.demo.world import CLASSES, DEMO_SEGMENTS, Drive
from semla_ros.types import AdapterMix, Frame, UInt8Array, Vocabulary
from semla_ros.viz.palette import colors_for

FRAME_ID = "camera_optical_frame"
DRIVE_SEED = 2026


@dataclass(frozen=True, slots=True)
class Footage:
    """A rendered drive.

    Attributes:
        frames: What the camera sees.
        labels: (H, W) uint8 truth of each frame.
        domains: The dominant domain of each frame.
        camera: A recording of the frames, for the player.
        seconds: How long it lasts.
    """

    frames: tuple[Frame, ...]
    labels: tuple[UInt8Array, ...]
    domains: tuple[str, ...]
    camera: Path
    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What the node published for one frame.

    Attributes:
        result: Mask, confidence, mix and support, put together again by their stamp.
        latency_ms: From the image's arrival at the recorder to the mask's.
    """

    result: SegmentationResult
    latency_ms: float


@dataclass(frozen=True, slots=True)
class Answers:
    """Everything the node published: answers by stamp, and the swaps."""

    by_stamp: dict[int, Answer]
    swaps: tuple[SwapEvent, ...]


def render_footage(folder: Path, *, seconds: float, fps: float) -> Footage:
    """Return the first `seconds` of the demo drive, stretched to hold every segment.

    Args:
        folder: Where the camera recording goes.
        seconds: Length; the segments keep their proportions.
        fps: Camera rate.
    """
    total = sum(length for _, length in DEMO_SEGMENTS)
    segments = tuple((name, length * seconds / total) for name, length in DEMO_SEGMENTS)
    drive = Drive(DRIVE_SEED, fps=fps, segments=segments)
    frames: list[Frame] = []
    labels: list[UInt8Array] = []
    domains: list[str] = []
    path = folder / "camera.mcap"
    with BagWriter(path) as bag:
        for i in tqdm(range(len(drive)), desc="render the drive", mininterval=5.0):
            shot = drive.frame(i)
            frames.append(Frame(shot.stamp_ns, FRAME_ID, shot.image.rgb))
            labels.append(shot.image.labels)
            domains.append(shot.domain)
            fields = image_fields(shot.image.rgb, stamp_ns=shot.stamp_ns, frame_id=FRAME_ID)
            bag.write(CAMERA, "sensor_msgs/msg/Image", fields, shot.stamp_ns)
    return Footage(tuple(frames), tuple(labels), tuple(domains), path, len(drive) / fps)


def read_answers(run: LiveRun) -> Answers:
    """Return what was recorded of the node, frame by frame.

    Raises:
        BagError: The recording cannot be read.
    """
    vocabulary = Vocabulary(CLASSES, colors_for(CLASSES))
    arrived = {
        stamp_ns(m.message): m.recorded_ns
        for m in read_topic(run.recording, CAMERA, "sensor_msgs/msg/Image")
    }
    mixes = _mixes(run.recording)
    supports = {
        stamp_ns(m.message): _support(m.message)
        for m in read_topic(run.recording, SUPPORT, "semla_ros/msg/SupportScore")
    }
    confidences = {
        stamp_ns(m.message): _plane(m.message)
        for m in read_topic(run.recording, CONFIDENCE, "sensor_msgs/msg/Image")
    }
    answers: dict[int, Answer] = {}
    for each in read_topic(run.recording, MASK, "sensor_msgs/msg/Image"):
        stamp = stamp_ns(each.message)
        if stamp not in arrived or stamp not in confidences:
            continue
        result = SegmentationResult(
            stamp_ns=stamp,
            frame_id=each.message.header.frame_id,
            labels=_plane(each.message),
            confidence=confidences[stamp],
            vocabulary=vocabulary,
            mix=_mix_at(mixes, stamp),
            support=supports.get(stamp),
            estimate=None,
        )
        answers[stamp] = Answer(result, (each.recorded_ns - arrived[stamp]) * 1e-6)
    swaps = tuple(
        _swap(m.message) for m in read_topic(run.recording, SWAP, "semla_ros/msg/AdapterSwap")
    )
    return Answers(answers, swaps)


def _plane(message: Any) -> UInt8Array:  # noqa: ANN401  a decoded mono8 image
    return np.asarray(message.data, np.uint8).reshape(message.height, message.width)


def _mixes(recording: Path) -> list[tuple[int, AdapterMix]]:
    found = []
    for each in read_topic(recording, ADAPTERS, "semla_ros/msg/AdapterMixture"):
        since = each.message.since
        stamp = int(since.sec) * 1_000_000_000 + int(since.nanosec)
        found.append((stamp, _mix(each.message.names, each.message.weights)))
    return sorted(found, key=lambda item: item[0])


def _mix_at(mixes: list[tuple[int, AdapterMix]], stamp: int) -> AdapterMix:
    active = AdapterMix.base_only()
    for since, mix in mixes:
        if since <= stamp:
            active = mix
    return active


def _support(message: Any) -> SupportReading:  # noqa: ANN401  a decoded message
    observed = message.observed
    return SupportReading(
        score=float(message.score),
        smoothed=float(message.smoothed_score),
        nearest=str(message.nearest_adapter),
        nearest_distance=float(message.nearest_distance),
        level=SUPPORT_LEVELS[int(message.level)],
        observed_ns=int(observed.sec) * 1_000_000_000 + int(observed.nanosec),
        novelty=float(message.novelty),
        expected_miou=float(message.expected_miou),
        miou_lower=float(message.miou_lower),
    )


def _mix(names: Sequence[str], weights: Sequence[float]) -> AdapterMix:
    return AdapterMix.from_weights(dict(zip(names, map(float, weights), strict=True)))


def _swap(message: Any) -> SwapEvent:  # noqa: ANN401  a decoded message
    return SwapEvent(
        stamp_ns(message),
        _mix(message.from_names, message.from_weights),
        _mix(message.to_names, message.to_weights),
        str(message.reason),
        bool(message.committed),
        str(message.error),
        float(message.detection_ms),
        float(message.fuse_ms),
        float(message.load_ms),
        float(message.stall_ms),
    )
