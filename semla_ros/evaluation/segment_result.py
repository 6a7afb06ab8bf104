"""The answer for one image that stands alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from semla_ros.answers import SupportReading
from semla_ros.engine.windows import WindowedLabels
from semla_ros.types import AdapterMix, DomainEstimate, Float32Array, Vocabulary


@dataclass(frozen=True, slots=True)
class SegmentedImage:
    """One image's answer.

    Attributes:
        result: Labels and logits.
        mix: What served.
        text_features: (T, D).
        vocabulary: The T classes.
        support: None without a navigator.
        estimate: None without a navigator.
        timings_ms: Stage -> duration.
    """

    result: WindowedLabels
    mix: AdapterMix
    text_features: Float32Array
    vocabulary: Vocabulary
    support: SupportReading | None
    estimate: DomainEstimate | None
    timings_ms: Mapping[str, float]
