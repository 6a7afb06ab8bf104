"""What could keep the pipeline from adapting, for whoever watches it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from semla_ros.pipeline.clock import StampReport


@dataclass(frozen=True, slots=True)
class PipelineHealth:
    """How the background is; durations by the machine's clock.

    Attributes:
        navigator_pending_s: For how long the navigator has been at one frame, 0 while it rests.
        navigator_error: Why its newest attempt failed, empty if it did not.
        swap_pending_s: For how long one swap has been under way, 0 while there is none.
        stamps: How the stamps of the stream were.
        unusable: Adapters that cannot serve now, with the reason.
        retried: Of these, the ones that are tried again without being told to.
        unknown_excluded: Names in `exclude` that the library has lost since they were given.
        no_alarm: Why OUT_OF_LIBRARY is never raised, empty where it may be.
    """

    navigator_pending_s: float
    navigator_error: str
    swap_pending_s: float
    stamps: StampReport
    unusable: Mapping[str, str] = field(default_factory=dict)
    retried: tuple[str, ...] = ()
    unknown_excluded: tuple[str, ...] = ()
    no_alarm: str = ""
