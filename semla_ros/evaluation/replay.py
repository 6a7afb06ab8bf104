"""The live pipeline over recorded frames: no threads, no clock in any decision."""

from __future__ import annotations

import logging
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import cached_property
from typing import Protocol, cast

import cv2
import numpy as np

from semla_ros.core.answers import SegmentationResult, SwapEvent
from semla_ros.core.errors import FrameError, SemlaError
from semla_ros.core.timing import StageTimer
from semla_ros.core.types import Frame, LabelArray, UInt8Array
from semla_ros.core.viz.overlay import colorize, lut_of, overlay
from semla_ros.data.bags.hints import RecordedHint
from semla_ros.data.bags.reader import SkippedFrame
from semla_ros.evaluation.result import FrameRecord, ReplayResult, RunInfo, SkippedRecord

_LOG = logging.getLogger(__name__)
Progress = Callable[[int, int], object]
"""Called after every frame with (frames segmented, frames skipped)."""


class Pipeline(Protocol):
    """What a replay needs of a pipeline."""

    def step(self, frame: Frame) -> SegmentationResult:
        """Return the answer to one frame."""
        ...


class FrameView:
    """One answered frame; its pictures are made when a sink asks, once for all sinks."""

    def __init__(self, frame: Frame, result: SegmentationResult, *, alpha: float = 0.5) -> None:
        self.frame = frame
        self.result = result
        self._alpha = alpha

    @cached_property
    def labels(self) -> LabelArray:
        """(H, W) labels at the image's size, also where the pipeline answers at the network's."""
        labels, rgb = self.result.labels, self.frame.rgb
        if labels.shape == rgb.shape[:2]:
            return labels
        size = rgb.shape[1::-1]
        scaled = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT)
        return cast(LabelArray, scaled)

    @cached_property
    def mask_rgb(self) -> UInt8Array:
        """(H, W, 3): the labels in their class colours."""
        return colorize(self.labels, lut_of(self.result.vocabulary))

    @cached_property
    def overlay(self) -> UInt8Array:
        """(H, W, 3): the class colours over the camera image."""
        lut = lut_of(self.result.vocabulary)
        return overlay(self.frame.rgb, self.labels, lut, alpha=self._alpha)


class FrameSink(Protocol):
    """Takes every answered frame: a file being written, a sample for the page, a score."""

    def add(self, view: FrameView) -> None:
        """Take one frame."""
        ...


def replay(
    pipeline: Pipeline,
    frames: Iterable[Frame | SkippedFrame],
    *,
    info: RunInfo,
    sinks: Sequence[FrameSink] = (),
    progress: Progress | None = None,
    alpha: float = 0.5,
) -> ReplayResult:
    """Return what `pipeline` says about `frames`, in order.

    A frame the pipeline refuses is skipped with its reason. Anything that stops the replay after
    its first frame (an engine that fails, a full disk, Ctrl-C) ends it early: the result holds
    what was done so far and says so.

    Args:
        pipeline: Configured with `adaptation=inline`, so that every run decides the same.
        frames: From `read_frames`, or made otherwise.
        info: Goes into the result as it is.
        sinks: Get every answered frame.
        progress: Called after every frame.
        alpha: Opacity of the class colours in overlays.

    Raises:
        SemlaError: Nothing could be read at all.
    """
    run = _Run(pipeline, sinks, alpha)
    ended_early = ""
    try:
        for index, item in enumerate(frames):
            run.take(index, item)
            if progress is not None:
                progress(len(run.records), len(run.skipped))
    except KeyboardInterrupt:
        ended_early = "interrupted by the user"
    except SemlaError as error:
        if not run.records and not run.skipped:
            raise
        ended_early = str(error)
        _LOG.warning("the replay ended early: %s", error)
    return ReplayResult(
        info=info,
        frames=tuple(run.records),
        skipped=tuple(run.skipped),
        swaps=tuple(run.swaps),
        ended_early=ended_early,
    )


class Hinted(Protocol):
    """What hints need of a pipeline."""

    def hint(self, text: str, *, ttl_s: float, stamp_ns: int) -> Future[str]:
        """Return the future of what is made of words about what the camera will see."""
        ...


def with_hints(
    frames: Iterable[Frame | SkippedFrame],
    hints: Iterable[RecordedHint],
    pipeline: Hinted,
    *,
    on_note: Callable[[str], object],
) -> Iterator[Frame | SkippedFrame]:
    """Yield `frames`, each after `pipeline` was told what had been said when it came.

    Args:
        frames: Of a recording.
        hints: Of the same one, oldest first.
        pipeline: Is told; with `adaptation=inline` it reads a hint at once.
        on_note: Gets a line for each hint: what was made of it.
    """
    waiting = deque(hints)
    for frame in frames:
        came_ns = frame.stamp_ns
        if isinstance(frame, Frame) and frame.arrival_ns is not None:
            came_ns = frame.arrival_ns
        while waiting and waiting[0].recorded_ns <= came_ns:
            said = waiting.popleft()
            try:
                done = pipeline.hint(said.text, ttl_s=said.ttl_s, stamp_ns=said.stamp_ns)
                on_note(f"hint {said.text[:80]!r}: {done.result()}")
            except SemlaError as error:
                on_note(f"hint refused: {error}")
        yield frame


class _Run:
    """The records of one replay in progress."""

    def __init__(self, pipeline: Pipeline, sinks: Sequence[FrameSink], alpha: float) -> None:
        self.records: list[FrameRecord] = []
        self.skipped: list[SkippedRecord] = []
        self.swaps: list[SwapEvent] = []
        self._pipeline = pipeline
        self._sinks = sinks
        self._alpha = alpha

    def take(self, index: int, item: Frame | SkippedFrame) -> None:
        """Step one frame, or note why it is skipped."""
        if isinstance(item, SkippedFrame):
            self.skipped.append(SkippedRecord(index, item.stamp_ns, item.reason))
            return
        timer = StageTimer()
        try:
            with timer.stage("step"):
                result = self._pipeline.step(item)
        except FrameError as error:
            self.skipped.append(SkippedRecord(index, item.stamp_ns, str(error)))
            return
        view = FrameView(item, result, alpha=self._alpha)
        for sink in self._sinks:
            sink.add(view)
        self.records.append(_record(index, result, timer.durations_ms["step"]))
        self.swaps.extend(result.swaps)


def _record(index: int, result: SegmentationResult, step_ms: float) -> FrameRecord:
    return FrameRecord(
        index=index,
        stamp_ns=result.stamp_ns,
        frame_id=result.frame_id,
        mix=result.mix,
        support=result.support,
        timings_ms={"step": step_ms, **result.timings_ms},
        mask_crc32=mask_crc32(result.labels),
    )


def mask_crc32(labels: np.ndarray[tuple[int, ...], np.dtype[np.integer]]) -> int:
    """Return a checksum of a label image: of its size, type and every label."""
    header = f"{labels.shape}{labels.dtype.newbyteorder('<').str}".encode()
    return zlib.crc32(np.ascontiguousarray(labels).data, zlib.crc32(header))
