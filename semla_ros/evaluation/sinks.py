"""Files written while a replay runs: the overlay video and the recording of predictions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from semla_ros.core.errors import EvaluationError, SemlaError
from semla_ros.core.shown import native_path
from semla_ros.core.types import AdapterMix, UInt8Array, Vocabulary
from semla_ros.core.viz.legend import legend
from semla_ros.data.bags import messages
from semla_ros.data.bags.writer import BagWriter
from semla_ros.evaluation.film import mix_text, support_text
from semla_ros.evaluation.live_result import NODE
from semla_ros.evaluation.replay import FrameSink, FrameView

_LOG = logging.getLogger(__name__)


class PredictionSink:
    """Records mask, overlay, legend, support, mix and swaps under the live node's topic names.

    So views made for one open the other.

    Everything carries the frame's own stamp; mix and class list are written when they change.
    """

    def __init__(self, bag: BagWriter, *, generated: Collection[str] = ()) -> None:
        """Write to `bag`; `generated` are the library's adapters made from words."""
        self._bag = bag
        self._generated = generated
        self._mix: AdapterMix | None = None
        self._since_ns = 0
        self._told: object = None
        self._vocabulary: Vocabulary | None = None

    def add(self, view: FrameView) -> None:
        """Write one frame."""
        result = view.result
        stamp, frame_id = result.stamp_ns, result.frame_id
        write = self._bag.write
        if result.vocabulary is not self._vocabulary:
            info = messages.label_info_fields(result.vocabulary, stamp_ns=stamp, frame_id=frame_id)
            write(f"{NODE}/label_info", messages.LABEL_INFO, info, stamp)
            picture = legend(result.vocabulary)
            key = messages.image_fields(picture, stamp_ns=stamp, frame_id=frame_id)
            write(f"{NODE}/legend", messages.IMAGE, key, stamp)
            self._vocabulary = result.vocabulary
        mask = messages.image_fields(result.labels, stamp_ns=stamp, frame_id=frame_id)
        write(f"{NODE}/mask", messages.IMAGE, mask, stamp)
        color = messages.image_fields(view.mask_rgb, stamp_ns=stamp, frame_id=frame_id)
        write(f"{NODE}/mask_color", messages.IMAGE, color, stamp)
        overlay = messages.jpeg_fields(view.overlay, stamp_ns=stamp, frame_id=frame_id)
        write(f"{NODE}/overlay/compressed", messages.COMPRESSED_IMAGE, overlay, stamp)
        if result.support is not None:
            support = messages.support_fields(
                result.support, result.mix, stamp_ns=stamp, frame_id=frame_id
            )
            write(f"{NODE}/support", messages.SUPPORT_SCORE, support, stamp)
        for swap in result.swaps:
            fields = messages.swap_fields(swap, frame_id=frame_id)
            write(f"{NODE}/swap", messages.ADAPTER_SWAP, fields, stamp)
        if result.mix != self._mix:
            self._mix, self._since_ns = result.mix, stamp
        told = (result.mix, result.hint, round(result.hint_share, 1))
        if told != self._told:
            state = messages.mix_state_fields(
                result.mix,
                result.estimate,
                stamp_ns=stamp,
                frame_id=frame_id,
                since_ns=self._since_ns,
                hint=result.hint,
                hint_share=result.hint_share,
                generated=self._generated,
            )
            write(f"{NODE}/mix", messages.MIX_STATE, state, stamp)
            self._told = told


class FileSink:
    """A sink with a file of its own; the replay goes on without it where it cannot be written.

    A context manager.

    Attributes:
        failure: Why the file could not be written, empty while it can.
    """

    def __init__(self, open_sink: Callable[[ExitStack], FrameSink]) -> None:
        """Write to the sink that `open_sink` returns; what it opens goes on the stack."""
        self.failure = ""
        self._open = open_sink
        self._stack = ExitStack()
        self._sink: FrameSink | None = None

    def __enter__(self) -> FileSink:
        try:
            self._sink = self._open(self._stack)
        except (SemlaError, OSError) as error:
            self._fail(error)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._stack.__exit__(kind, value, trace)
        except SemlaError as error:
            self._fail(error)

    def add(self, view: FrameView) -> None:
        """Write one frame, unless an earlier one failed."""
        if self._sink is None:
            return
        try:
            self._sink.add(view)
        except (SemlaError, OSError) as error:
            self._fail(error)

    def _fail(self, error: SemlaError | OSError) -> None:
        self.failure, self._sink = str(error), None
        _LOG.error("the replay goes on without this file: %s", error)
        with suppress(SemlaError):
            self._stack.__exit__(type(error), error, error.__traceback__)


class VideoSink:
    """Writes overlays with a line about mix and support as mp4, where OpenCV has the codec.

    The frame rate is that of the first two stamps. A context manager: the file appears when it is
    whole; without the codec nothing is written, which is logged.
    """

    _BAR = 26

    def __init__(self, path: Path, *, max_width: int = 1280) -> None:
        self.path = path
        self.written = 0
        self._partial = path.with_name(f".{path.stem}.partial{path.suffix}")
        self._max_width = max_width
        self._first: tuple[int, UInt8Array] | None = None
        self._writer: cv2.VideoWriter | None = None
        self._unavailable = False
        self._size = (0, 0)
        self._start_ns = 0

    def __enter__(self) -> VideoSink:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is None and self._first is not None:
            self._start(fps=10.0)
        if self._writer is not None:
            self._writer.release()
        if not self._partial.exists():
            return
        whole = bool(self.written) and _frames_of(self._partial) == self.written
        try:
            if kind is None and whole:
                self._partial.replace(self.path)
            else:
                self._partial.unlink()
        except OSError as error:
            raise EvaluationError(f"cannot write {str(self.path)!r}: {error}") from error
        if kind is None and not whole:
            raise EvaluationError(
                f"cannot write {str(self.path)!r}: the video is not whole and was taken away: is "
                "the disk full? --no-video goes without"
            )

    def add(self, view: FrameView) -> None:
        """Write one frame; frames of another size are scaled to the first one's."""
        if self._unavailable:
            return
        if self._writer is None and self._first is None:
            self._start_ns = view.result.stamp_ns
            self._first = (view.result.stamp_ns, self._picture(view))
            return
        if self._first is not None:
            gap_s = (view.result.stamp_ns - self._first[0]) * 1e-9
            self._start(fps=min(60.0, max(1.0, 1.0 / gap_s)) if gap_s > 0 else 10.0)
        if self._writer is not None:
            self._write(self._picture(view))

    def _start(self, *, fps: float) -> None:
        if self._first is None:
            return
        picture, self._first = self._first[1], None
        self._size = (picture.shape[1], picture.shape[0])
        self._partial.parent.mkdir(parents=True, exist_ok=True)
        code = cv2.VideoWriter.fourcc(*"mp4v")
        with native_path(self._partial) as name:
            writer = cv2.VideoWriter(name, code, fps, self._size)
        if not writer.isOpened():
            _LOG.warning("no video: OpenCV cannot write mp4 here")
            self._unavailable = True
            return
        self._writer = writer
        self._write(picture)

    def _write(self, picture: UInt8Array) -> None:
        if self._writer is None:
            return
        if picture.shape[1::-1] != self._size:
            picture = np.asarray(cv2.resize(picture, self._size), dtype=np.uint8)
        self._writer.write(np.ascontiguousarray(picture[..., ::-1]))
        self.written += 1

    def _picture(self, view: FrameView) -> UInt8Array:
        """Return overlay and caption, sides even as video codecs want them."""
        image = view.overlay
        scale = min(1.0, self._max_width / image.shape[1])
        width = max(2, round(image.shape[1] * scale) // 2 * 2)
        height = max(2, round(image.shape[0] * scale) // 2 * 2)
        canvas = np.full((height + self._BAR, width, 3), 255, dtype=np.uint8)
        canvas[:height] = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        result = view.result
        seconds = (result.stamp_ns - self._start_ns) * 1e-9
        line = f"{seconds:6.1f} s   {mix_text(result.mix)}   {support_text(result.support)}"
        origin = (8, height + 18)
        cv2.putText(canvas, line, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (31, 41, 51), 1, 16)
        return canvas


def _frames_of(path: Path) -> int:
    """Return how many frames a video holds, -1 where the last one cannot be read."""
    with native_path(path) as name:
        video = cv2.VideoCapture(name)
    try:
        count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        video.set(cv2.CAP_PROP_POS_FRAMES, count - 1)
        return count if video.read()[0] else -1
    finally:
        video.release()
