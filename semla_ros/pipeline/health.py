"""What could keep the pipeline from adapting, for whoever watches it."""

from __future__ import annotations

from dataclasses import dataclass

from semla_ros.pipeline.clock import StampReport


@dataclass(frozen=True, slots=True)
class PipelineHealth:
    """How the background is; durations by the machine's clock.

    Attributes:
        navigator_pending_s: For how long the navigator has been at one frame, 0 while it rests.
        navigator_error: Why its newest attempt failed, empty if it did not.
        swap_pending_s: For how long one swap has been under way, 0 while there is none.
        stamps: How the stamps of the stream were.
    """

    navigator_pending_s: float
    navigator_error: str
    swap_pending_s: float
    stamps: StampReport
