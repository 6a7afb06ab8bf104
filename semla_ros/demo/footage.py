"""The demo drive: rendered once, with truth, and what the node answered to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from semla_ros.core.answers import SegmentationResult, SwapEvent
from semla_ros.core.errors import BagError
from semla_ros.core.types import Frame, UInt8Array
from semla_ros.core.viz.palette import vocabulary_of
from semla_ros.data.bags.messages import image_fields
from semla_ros.data.bags.writer import BagWriter
from semla_ros.demo.world import CLASSES, DEMO_SEGMENTS, Drive
from semla_ros.evaluation.live_result import (
    CAMERA,
    camera_arrivals,
    mix_at,
    read_masks,
    read_mixes,
    read_supports,
    read_swaps,
)
from semla_ros.processes.live import CONFIDENCE, MASK, LiveRun

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

    @property
    def domain_of(self) -> dict[int, str]:
        """Stamp -> domain."""
        return dict(zip((f.stamp_ns for f in self.frames), self.domains, strict=True))


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


def demo_drive(*, seconds: float, fps: float) -> Drive:
    """Return the demo drive with every segment, stretched to `seconds`."""
    total = sum(length for _, length in DEMO_SEGMENTS)
    segments = tuple((name, length * seconds / total) for name, length in DEMO_SEGMENTS)
    return Drive(DRIVE_SEED, fps=fps, segments=segments)


def render_footage(path: Path, *drives: Drive, later_ns: int = 0) -> Footage:
    """Return `drives` one after the other, and record their camera.

    Args:
        path: Of the recording.
        drives: What to render, at one rate.
        later_ns: Added to every stamp, so that what one node sees follows one another.
    """
    seconds = 0.0
    frames: list[Frame] = []
    labels: list[UInt8Array] = []
    domains: list[str] = []
    with BagWriter(path) as bag:
        for drive in drives:
            for i in tqdm(range(len(drive)), desc="render the drive", mininterval=5.0):
                shot = drive.frame(i)
                stamp = shot.stamp_ns + later_ns + round(seconds * 1e9)
                frames.append(Frame(stamp, FRAME_ID, shot.image.rgb))
                labels.append(shot.image.labels)
                domains.append(shot.domain)
                fields = image_fields(shot.image.rgb, stamp_ns=stamp, frame_id=FRAME_ID)
                bag.write(CAMERA, "sensor_msgs/msg/Image", fields, stamp)
            seconds += len(drive) / drive.fps
    return Footage(tuple(frames), tuple(labels), tuple(domains), path, seconds)


def read_answers(run: LiveRun) -> Answers:
    """Return what was recorded of the node, frame by frame.

    Raises:
        BagError: The recording cannot be read, or holds no answer at all.
    """
    vocabulary = vocabulary_of(CLASSES)
    arrived = camera_arrivals(run.recording)
    mixes, supports = read_mixes(run.recording), read_supports(run.recording)
    confidences = {m.stamp_ns: m.labels for m in read_masks(run.recording, CONFIDENCE)}
    answers: dict[int, Answer] = {}
    for mask in read_masks(run.recording, MASK):
        if mask.stamp_ns not in arrived or mask.stamp_ns not in confidences:
            continue
        result = SegmentationResult(
            stamp_ns=mask.stamp_ns,
            frame_id=mask.frame_id,
            labels=mask.labels,
            confidence=np.asarray(confidences[mask.stamp_ns], np.uint8),
            vocabulary=vocabulary,
            mix=mix_at(mixes, mask.stamp_ns),
            support=supports.get(mask.stamp_ns),
            estimate=None,
        )
        latency = (mask.recorded_ns - arrived[mask.stamp_ns]) * 1e-6
        answers[mask.stamp_ns] = Answer(result, latency)
    if not answers:
        raise BagError(
            f"expected masks of {len(run.sent)} images in {str(run.recording)!r}, got none: "
            "logs/node.log has what the node said"
        )
    return Answers(answers, read_swaps(run.recording))
