"""What comes out: predictions, support readings, swap events, one frame's answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from semla_ros.core.errors import ConfigError
from semla_ros.core.types import (
    AdapterMix,
    DomainEstimate,
    Float32Array,
    LabelArray,
    UInt8Array,
    Vocabulary,
)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the engine says about one image, at network resolution.

    Attributes:
        labels: (S, S) uint8 or uint16 class ids.
        confidence: (S, S) uint8, round(255 * probability of the chosen class).
        mix: The mix that was active for this very frame.
        vocabulary: The classes that `labels` index.
        logits: (T, h, w) float32 before the sigmoid; only where they were asked for.
    """

    labels: LabelArray
    confidence: UInt8Array
    mix: AdapterMix
    vocabulary: Vocabulary
    logits: Float32Array | None = None


@dataclass(frozen=True, slots=True)
class SwapEvent:
    """One attempt to change the active weights.

    Attributes:
        stamp_ns: Stamp of the frame before which it took effect (or failed).
        from_mix: Active before.
        to_mix: What was published, or should have been.
        reason: Why: `domain`, `hint`, `out_of_library`, `pinned`, `unpinned`, `vocabulary`,
            `library` or `initial`.
        committed: False if it failed; the old set then keeps serving.
        error: Why it failed, empty otherwise.
        detection_ms: Sensor time from the first frame that wanted the new mix to the request.
        fuse_ms: LoRA fusion, merge into base weights, text features; in the background.
        load_ms: Filling the engine's idle slot; in the background.
        stall_ms: What the frame loop waited for: the commit.
        ready_ms: From the request until the set could be published.
    """

    stamp_ns: int
    from_mix: AdapterMix
    to_mix: AdapterMix
    reason: str
    committed: bool
    error: str = ""
    detection_ms: float = 0.0
    fuse_ms: float = 0.0
    load_ms: float = 0.0
    stall_ms: float = 0.0
    ready_ms: float = 0.0


STALE = "STALE"
SUPPORT_LEVELS: tuple[str, ...] = ("OK", "LOW", "OUT_OF_LIBRARY", STALE)


@dataclass(frozen=True, slots=True)
class SupportReading:
    """How far the library covers what the camera sees.

    Attributes:
        score: Sum of w_i / d_i over the active mix, newest observed frame alone (SemLA, Eq. 15).
        smoothed: The same of the smoothed embedding.
        nearest: Name of the nearest adapter.
        nearest_distance: Its distance, smoothed embedding.
        novelty: Smallest novelty over the adapters that may serve, of single frames, filtered over
            time; NaN where unknown; decides OUT_OF_LIBRARY.
        expected_miou: What the calibration expects of this mask's mIoU, in [0, 1]; NaN where
            there is no calibration, and where it knows nothing: OUT_OF_LIBRARY, and masks unlike
            those it was made with.
        miou_lower: Bound that mIoU is meant to stay above; NaN without a calibration, 0 where it
            knows nothing.
        level: One of `SUPPORT_LEVELS`.
        observed_ns: Stamp of the frame that was embedded; older than the mask's where the
            navigator runs less often; 0 where none was.
        age_s: How old that observation is, by sensor time or by the machine's clock, whichever
            says more; infinite where there is none, NaN where it is not known.
    """

    score: float
    smoothed: float
    nearest: str
    nearest_distance: float
    level: str
    observed_ns: int
    novelty: float = math.nan
    expected_miou: float = math.nan
    miou_lower: float = math.nan
    age_s: float = math.nan

    @classmethod
    def stale(cls, *, observed_ns: int = 0, age_s: float = math.inf) -> SupportReading:
        """Return "nothing is known of what the camera sees now": no support, nothing promised."""
        return cls(0.0, 0.0, "", math.nan, STALE, observed_ns, miou_lower=0.0, age_s=age_s)

    def __post_init__(self) -> None:
        if self.level not in SUPPORT_LEVELS:
            raise ConfigError(
                f"expected a support level of {SUPPORT_LEVELS!r}, got {self.level!r}"
            )


def known(reading: SupportReading | None) -> SupportReading | None:
    """Return `reading` if it says anything about its frame, else None."""
    return None if reading is None or reading.level == STALE else reading


def uncovered(level: str, score: float, *, low: float) -> bool:
    """Return whether the library is thin where a frame is; a mix that merely lags behind is not.

    Args:
        level: Of the stream.
        score: Of the mix that retrieval picks for the frame alone.
        low: Below it the level is LOW.
    """
    return level == "OUT_OF_LIBRARY" or (level == "LOW" and score < low)


@dataclass(frozen=True, slots=True)
class SegmentationResult:
    """One frame's answer.

    Attributes:
        stamp_ns, frame_id: Copied from the frame.
        labels: (H, W) uint8 or uint16 at the image's size.
        confidence: (H, W) uint8 at the image's size.
        vocabulary: The classes `labels` index.
        mix: The mix that made the mask.
        support: STALE until the navigator has seen a frame; None without a navigator.
        estimate: The newest domain estimate, None until there is one.
        swaps: What was committed or failed before this frame.
        timings_ms: Stage name -> duration.
        hint: Words in force, "" without any.
        hint_share: How much they count besides images, 0 to 1.
    """

    stamp_ns: int
    frame_id: str
    labels: LabelArray
    confidence: UInt8Array
    vocabulary: Vocabulary
    mix: AdapterMix
    support: SupportReading | None
    estimate: DomainEstimate | None
    swaps: Sequence[SwapEvent] = ()
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    hint: str = ""
    hint_share: float = 0.0
