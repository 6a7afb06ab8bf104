"""How the pipeline is, for whoever watches it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from semla_ros.engine.contract import EngineStatus
from semla_ros.pipeline.clock import StampReport


@dataclass(frozen=True, slots=True)
class PipelineHealth:
    """What serves, and what could keep the pipeline from adapting; of nothing by default.

    Attributes:
        navigator_pending_s: For how long the navigator has been at one frame by the machine's
            clock, 0 while it rests.
        navigator_error: Why its newest attempt failed, empty if it did not.
        swap_pending_s: For how long one swap has been under way, 0 while there is none.
        stamps: How the stamps of the stream were.
        unusable: Adapters that cannot serve now, with the reason.
        retried: Of these, the ones that are tried again without being told to.
        unknown_excluded: Names in `exclude` that the library has lost since they were given.
        no_alarm: Why OUT_OF_LIBRARY is never raised, empty where it may be.
        engine: Which engine serves and how it is.
        precision, engine_reason: What it multiplies in; why it was taken.
        mix: Identity of the mix that serves.
        adapters: How many may serve.
        unsealed: Those whose bytes nobody has vouched for.
        errors: Stage -> how often it failed.
    """

    navigator_pending_s: float = 0.0
    navigator_error: str = ""
    swap_pending_s: float = 0.0
    stamps: StampReport = field(default_factory=StampReport)
    unusable: Mapping[str, str] = field(default_factory=dict)
    retried: tuple[str, ...] = ()
    unknown_excluded: tuple[str, ...] = ()
    no_alarm: str = ""
    engine: EngineStatus | None = None
    precision: str = ""
    engine_reason: str = ""
    mix: str = ""
    adapters: int = 0
    unsealed: tuple[str, ...] = ()
    errors: Mapping[str, int] = field(default_factory=dict)
