"""How the pipeline is, for whoever watches it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from semla_ros.engine.contract import EngineStatus
from semla_ros.pipeline.adaptation import Adaptation
from semla_ros.pipeline.clock import StampReport
from semla_ros.pipeline.control import SwapControl
from semla_ros.pipeline.faults import FaultCounter
from semla_ros.pipeline.library_view import unknown_of
from semla_ros.pipeline.parts import PipelineParts


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


def health_of(
    parts: PipelineParts, adaptation: Adaptation, control: SwapControl, faults: FaultCounter
) -> PipelineHealth:
    """Return how a pipeline of these parts is; any thread."""
    library, observer, swapper = adaptation.library, parts.observer, parts.swapper
    return PipelineHealth(
        navigator_pending_s=observer.pending_s if observer else 0.0,
        navigator_error=faults.failing.get("navigator", ""),
        swap_pending_s=control.pending_s,
        stamps=adaptation.stamps,
        unusable={**library.problems, **swapper.unusable},
        retried=swapper.access.retried,
        unknown_excluded=tuple(unknown_of(adaptation.settings.config.excluded, library)),
        no_alarm=adaptation.silence,
        engine=parts.engine.status,
        precision=parts.engine.facts.precision,
        engine_reason=parts.engine.facts.reason,
        mix=swapper.active.identity,
        adapters=len(library.names),
        unsealed=library.unsealed,
        errors=faults.counts,
    )
