"""From a frame and its answer to what is written down of them."""

from __future__ import annotations

from collections.abc import Mapping

from semla_ros.core.answers import SegmentationResult, SupportReading
from semla_ros.core.files.png import png_content
from semla_ros.core.types import Float32Array, Frame, LabelArray
from semla_ros.data.captures.filter import filtered
from semla_ros.data.captures.record import (
    CaptureRecord,
    capture_name,
    image_file,
    mask_file,
    sha256_of,
)


def files_of(frame: Frame, labels: LabelArray, *, command: str) -> dict[str, bytes]:
    """Return name -> content of the pictures of a frame: image and mask.

    Args:
        frame: The frame.
        labels: (h, w) ids of its mask.
        command: Program of the user's that the image goes through, see `filtered`; empty: none.

    Raises:
        CaptureError: The program fails.
        FrameError: A PNG cannot hold one of them.
    """
    rgb = filtered(frame.rgb, command) if command else frame.rgb
    name = capture_name(frame.stamp_ns)
    return {image_file(name): png_content(rgb), mask_file(name): png_content(labels)}


def record_of(
    frame: Frame,
    result: SegmentationResult,
    reading: SupportReading,
    *,
    embedding: Float32Array,
    reason: str,
    captured_ns: int,
    files: Mapping[str, bytes],
) -> CaptureRecord:
    """Return the record of a frame.

    Args:
        frame: The frame.
        result: Its answer; the promise is of its mask.
        reading: Support once the frame was seen.
        embedding: (D,) of this frame alone.
        reason: One of `record.REASONS`.
        captured_ns: By the machine's clock.
        files: Name -> content, of `files_of`.
    """
    promise = result.support.expected_miou if result.support else float("nan")
    return CaptureRecord(
        stamp_ns=frame.stamp_ns,
        captured_ns=captured_ns,
        frame_id=frame.frame_id,
        reason=reason,
        level=reading.level,
        support=reading.score,
        novelty=reading.novelty,
        expected_miou=promise,
        nearest=reading.nearest,
        nearest_distance=reading.nearest_distance,
        mix=result.mix,
        classes=result.vocabulary.names,
        embedding=embedding,
        sha256={name: sha256_of(content) for name, content in files.items()},
    )
