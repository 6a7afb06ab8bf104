"""Frames that the library does not cover go to the disk, aside: masks never wait for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from semla_ros.core.answers import SegmentationResult, SupportReading, known, uncovered
from semla_ros.core.config import Config
from semla_ros.core.executors import lower_priority
from semla_ros.core.timing import now_ms, wall_ns
from semla_ros.core.types import DomainEstimate, Frame
from semla_ros.nodes.worker import Worker
from semla_ros.pipeline import AdaptivePipeline
from semla_ros.pipeline.observer import Observation

if TYPE_CHECKING:
    from semla_ros.data.captures.ring import CaptureLimits, CaptureRing

OFF, CAPTURING, FAILING = "off", "capturing", "failing"
TIDY_S = 1.0
"""How often frames that have become too old are looked for."""
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class CaptureReport:
    """How capture is.

    Attributes:
        state: `OFF`, `CAPTURING` or `FAILING`.
        detail: Why it fails, empty otherwise.
        folder: Where frames are kept, empty if nowhere.
        frames, nbytes: What lies there.
        max_bytes: What may lie there.
        kept, alike, failed: Frames since the node was activated: kept; not, for they resemble
            one that is; not, for they could not be written.
    """

    state: str = OFF
    detail: str = ""
    folder: str = ""
    frames: int = 0
    nbytes: int = 0
    max_bytes: int = 0
    kept: int = 0
    alike: int = 0
    failed: int = 0


class _Seen(NamedTuple):
    """A frame whose embedding is on its way, and its answer."""

    observation: Observation
    frame: Frame
    result: SegmentationResult


class _Candidate(NamedTuple):
    """A frame worth keeping, why, and its support: the score is that of the frame alone."""

    frame: Frame
    result: SegmentationResult
    reading: SupportReading
    estimate: DomainEstimate
    reason: str


class Capture:
    """Watches the stream for frames worth keeping; a thread of low priority writes them.

    The embedding of a frame comes some frames later, so the frame is held until then: one, never
    more. Of frames that come while one is being written the newest is written next.
    """

    def __init__(self, pipeline: AdaptivePipeline, config: Callable[[], Config]) -> None:
        """Keep nothing yet; `config` returns the settings in force."""
        self._pipeline = pipeline
        self._config = config
        self._seen: _Seen | None = None
        self._ring: CaptureRing | None = None
        self._due_ms = 0.0
        self._kept = self._alike = 0
        self._worker: Worker[_Candidate] | None = None

    def saw(self, frame: Frame, result: SegmentationResult) -> None:
        """Look at a frame and its answer; called by the frame loop after every step."""
        if not self._config().capture_dir:
            self._seen = None
            return
        before, observer = self._seen, self._pipeline.adaptation.observer
        if observer is None:
            return
        if before is not None and before.observation is observer.observed:
            self._seen = None
            self._judge(before, result)
        observing = observer.observing
        if observing is not None and (before is None or observing is not before.observation):
            self._seen = _Seen(observing, frame, result)

    def report(self) -> CaptureReport:
        """Return how capture is; any thread."""
        config, ring, worker = self._config(), self._ring, self._worker
        if not config.capture_dir:
            return CaptureReport()
        now = worker.report() if worker else None
        failing = now is not None and now.consecutive_errors > 0
        return CaptureReport(
            state=FAILING if failing else CAPTURING,
            detail=now.last_error.partition(": ")[2] if now is not None and failing else "",
            folder=config.capture_dir,
            frames=len(ring) if ring else 0,
            nbytes=ring.nbytes if ring else 0,
            max_bytes=config.capture_mib * _MIB,
            kept=self._kept,
            alike=self._alike,
            failed=sum(now.errors.values()) if now else 0,
        )

    def stop(self, *, patience_s: float) -> bool:
        """End the thread; return whether the frame in hand was written within `patience_s` s."""
        ended = self._worker is None or self._worker.stop(patience_s)
        if ended:
            self._close()
        return ended

    def _judge(self, seen: _Seen, result: SegmentationResult) -> None:
        """Hand over the frame that was seen, if it is worth it and time for one."""
        reading, estimate = known(result.support), result.estimate
        if reading is None or estimate is None or now_ms() < self._due_ms:
            return
        reading = replace(
            reading, score=self._pipeline.adaptation.settings.support_alone(estimate)
        )
        reason = self._reason(reading, seen.result)
        if reason:
            if self._worker is None:
                self._worker = Worker(
                    self._write, idle=self._tidy, idle_s=TIDY_S, name="semla-capture"
                )
                self._worker.start()
            self._worker.put(_Candidate(seen.frame, seen.result, reading, estimate, reason))

    def _reason(self, reading: SupportReading, result: SegmentationResult) -> str:
        """Return why a frame is worth keeping, empty if it is not; one of `record.REASONS`."""
        if uncovered(
            reading.level, reading.score, low=self._pipeline.adaptation.settings.support_low
        ):
            return reading.level.lower()
        promise = result.support.expected_miou if result.support else 1.0
        return "disagreement" if promise < self._config().capture_below_miou else ""

    def _write(self, candidate: _Candidate) -> None:
        """Write a frame; on the capture's own thread."""
        from semla_ros.data.captures.record import capture_name
        from semla_ros.data.captures.writing import files_of, record_of

        lower_priority()
        config = self._config()
        ring, limits = self._open(config), _limits(config)
        frame, result = candidate.frame, candidate.result
        name, embedding = capture_name(frame.stamp_ns), candidate.estimate.raw_embedding
        if not ring.is_new(name, embedding, limits):
            self._alike += 1
            return
        try:
            files = files_of(frame, result.labels, command=config.capture_filter)
            record = record_of(
                frame,
                result,
                candidate.reading,
                embedding=embedding,
                reason=candidate.reason,
                captured_ns=wall_ns(),
                files=files,
            )
            ring.keep(record, files, limits)
        finally:
            self._due_ms = now_ms() + config.capture_period_s * 1e3
        self._kept += 1

    def _tidy(self) -> None:
        config = self._config()
        if self._moved(config):
            self._close()
        elif self._ring is not None:
            self._ring.tidy(_limits(config))

    def _open(self, config: Config) -> CaptureRing:
        """Return the ring in the folder that is asked for now."""
        from semla_ros.data.captures.record import CaptureIdentity
        from semla_ros.data.captures.ring import CaptureRing

        if self._moved(config):
            self._close()
        if self._ring is None:
            navigator = self._pipeline.bundle.manifest.navigator
            if navigator is None:
                raise RuntimeError("no navigator: nothing is observed, nothing can be captured")
            identity = CaptureIdentity(navigator.identity, navigator.dim)
            self._ring = CaptureRing(Path(config.capture_dir), identity)
        return self._ring

    def _moved(self, config: Config) -> bool:
        """Return whether there is a ring, in another folder than is asked for now."""
        asked, ring = config.capture_dir, self._ring
        return ring is not None and (not asked or Path(asked) != ring.folder)

    def _close(self) -> None:
        if self._ring is not None:
            self._ring.close()
            self._ring = None


def _limits(config: Config) -> CaptureLimits:
    from semla_ros.data.captures.ring import CaptureLimits

    return CaptureLimits(
        max_bytes=config.capture_mib * _MIB,
        max_age_s=config.capture_max_age_h * 3600.0,
        spread=config.capture_spread,
    )
