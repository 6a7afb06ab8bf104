"""What a replay leaves behind: frozen, saved as JSON, read again without bag or model."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semla_ros.core.answers import SupportReading, SwapEvent, known
from semla_ros.core.errors import EvaluationError, SemlaError
from semla_ros.core.types import AdapterMix
from semla_ros.data.metrics import percentiles
from semla_ros.evaluation.files import json_text, plain, read_json, typed, write_file

FORMAT = 1
MAX_RESULT_BYTES = 2_000_000_000


@dataclass(frozen=True, slots=True)
class FrameRecord:
    """One segmented frame.

    Attributes:
        index: Its place in the recording's stream, skipped frames counted too.
        stamp_ns, frame_id: The frame's.
        mix: What made the mask.
        support: None without a navigator or before its first observation.
        timings_ms: Stage -> duration; `step` is the whole, `latency` that of a live recording.
        mask_crc32: Checksum of the labels; equal masks have equal checksums.
    """

    index: int
    stamp_ns: int
    frame_id: str
    mix: AdapterMix
    support: SupportReading | None
    timings_ms: Mapping[str, float]
    mask_crc32: int

    def __post_init__(self) -> None:
        if not self.timings_ms.keys() & {"step", "latency"}:
            raise EvaluationError(
                f"expected a duration 'step' or 'latency' of frame {self.index}, got "
                f"{sorted(self.timings_ms)!r}"
            )


@dataclass(frozen=True, slots=True)
class SkippedRecord:
    """One frame that was not segmented, and why."""

    index: int
    stamp_ns: int
    reason: str


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What was replayed, by what.

    Attributes:
        source: The recording, as the user named it.
        topic: The image topic.
        bundle: Name of the model bundle.
        engine: Name of the engine that ran.
        classes: The class names, in id order.
        parameters: Every parameter that was not at its default.
        versions: Component -> version; also `machine`.
        support_low: Score below which the support level is LOW; 0 if unknown.
        engine_reason: The engine's precision and why it was taken.
        generated: Adapters of the library that were made from words.
    """

    source: str
    topic: str = ""
    bundle: str = ""
    engine: str = ""
    classes: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    support_low: float = 0.0
    engine_reason: str = ""
    generated: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """Everything a report needs.

    Attributes:
        info: What was replayed.
        frames: Segmented frames in order.
        skipped: Frames that were not.
        swaps: Every swap, failed ones too.
        notes: What a reader should know about the recording.
        ended_early: Why the replay stopped before the end; empty if it did not.
    """

    info: RunInfo
    frames: tuple[FrameRecord, ...]
    skipped: tuple[SkippedRecord, ...] = ()
    swaps: tuple[SwapEvent, ...] = ()
    notes: tuple[str, ...] = ()
    ended_early: str = ""

    @property
    def duration_s(self) -> float:
        """Sensor time from the first to the last segmented frame."""
        if not self.frames:
            return 0.0
        return (self.frames[-1].stamp_ns - self.frames[0].stamp_ns) * 1e-9

    def digest(self) -> str:
        """Return a sha256 over masks, mixes, support and swaps, durations left out.

        Two replays of one recording with one configuration have equal digests.
        """
        decided = [
            [f.index, f.stamp_ns, f.mask_crc32, plain(f.mix), plain(f.support)]
            for f in self.frames
        ]
        swaps = [[s.stamp_ns, s.to_mix.identity, s.reason, s.committed] for s in self.swaps]
        skipped = [[s.index, s.reason] for s in self.skipped]
        text = json.dumps([decided, swaps, skipped], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def latency_ms(self) -> dict[str, dict[str, float]]:
        """Return stage -> percentiles of its duration, `step` (the whole) first."""
        stages: dict[str, list[float]] = {"step": []}
        for frame in self.frames:
            for name, duration in frame.timings_ms.items():
                stages.setdefault(name, []).append(duration)
        return {name: percentiles(values) for name, values in stages.items() if values}

    def mean_mix(self) -> dict[str, float]:
        """Return adapter -> mean weight over the frames, heaviest first."""
        sums: Counter[str] = Counter()
        for frame in self.frames:
            for name, weight in zip(frame.mix.names, frame.mix.weights, strict=True):
                sums[name] += weight  # type: ignore[assignment]
        return {name: total / len(self.frames) for name, total in sums.most_common()}

    def levels(self) -> dict[str, int]:
        """Return support level -> number of frames."""
        return dict(Counter(f.support.level for f in self.frames if f.support).most_common())

    def summary(self) -> dict[str, Any]:
        """Return the headline numbers as plain data."""
        scores = [s.smoothed for f in self.frames if (s := known(f.support))]
        return {
            "frames": {
                "read": len(self.frames) + len(self.skipped),
                "segmented": len(self.frames),
                "skipped": len(self.skipped),
            },
            "skipped_why": dict(Counter(s.reason for s in self.skipped).most_common()),
            "ended_early": self.ended_early,
            "duration_s": self.duration_s,
            "swaps": {
                "committed": sum(s.committed for s in self.swaps),
                "failed": sum(not s.committed for s in self.swaps),
            },
            "latency_ms": self.latency_ms(),
            "mean_mix": self.mean_mix(),
            "support": {
                "levels": self.levels(),
                "mean": math.fsum(scores) / len(scores) if scores else None,
                "lowest": min(scores) if scores else None,
            },
            "digest": self.digest(),
        }


def result_to_json(result: ReplayResult) -> dict[str, Any]:
    """Return what `results.json` holds."""
    rounded = [
        {**plain(f), "timings_ms": {k: round(v, 4) for k, v in f.timings_ms.items()}}
        for f in result.frames
    ]
    return {
        "format": FORMAT,
        "info": plain(result.info),
        "summary": plain(result.summary()),
        "notes": list(result.notes),
        "swaps": plain(result.swaps),
        "skipped": plain(result.skipped),
        "frames": rounded,
    }


def save_result(result: ReplayResult, path: Path) -> None:
    """Write `results.json`; the file appears when it is whole.

    Raises:
        EvaluationError: The place cannot be written.
    """
    write_file(path, json_text(result_to_json(result)))


def load_result(path: Path) -> ReplayResult:
    """Return the result that `save_result` wrote.

    Raises:
        EvaluationError: Missing, of another format, or edited beyond reading.
    """
    data = read_json(path, what="results", max_bytes=MAX_RESULT_BYTES)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise EvaluationError(
            f"expected results of format {FORMAT} in {str(path)!r}: replay the recording again"
        )
    try:
        stored = typed(_Stored, data)
    except (ValueError, SemlaError) as error:
        raise EvaluationError(f"{str(path)!r} is damaged at {error}: replay again") from error
    return ReplayResult(
        stored.info,
        stored.frames,
        stored.skipped,
        stored.swaps,
        stored.notes,
        stored.summary.ended_early,
    )


@dataclass(frozen=True, slots=True)
class _Summary:
    """What is taken from the summary of a saved result."""

    ended_early: str


@dataclass(frozen=True, slots=True)
class _Stored:
    """What is taken from a saved result."""

    info: RunInfo
    frames: tuple[FrameRecord, ...]
    skipped: tuple[SkippedRecord, ...]
    swaps: tuple[SwapEvent, ...]
    notes: tuple[str, ...]
    summary: _Summary
