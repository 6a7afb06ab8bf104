"""What a swapper keeps: the wish that is outstanding, and its end."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field

from semla_ros.core.answers import SwapEvent
from semla_ros.core.timing import now_ms
from semla_ros.core.types import AdapterMix
from semla_ros.pipeline.weight_set import Prepared, Recipe


@dataclass(frozen=True, slots=True, eq=False)
class SwapRequest:
    """One request of an `AdapterSwapper`.

    Attributes:
        recipe: What is prepared for it.
        reason: See `SwapEvent.reason`.
        detection_ms: See `SwapEvent.detection_ms`.
        asked_ms: When, on the clock of `now_ms`.
        future: Answers whoever asked; cancelled, the request is withdrawn.
    """

    recipe: Recipe
    reason: str
    detection_ms: float = 0.0
    asked_ms: float = field(default_factory=now_ms)
    future: Future[SwapEvent] = field(default_factory=Future)

    def failed(self, serving: AdapterMix, stamp_ns: int, error: str) -> SwapEvent:
        """Return the event of a request that came to nothing before it was prepared."""
        return SwapEvent(
            stamp_ns, serving, self.recipe.mix, self.reason, committed=False, error=error
        )

    def ended(
        self, serving: AdapterMix, ready: Prepared, *, stamp_ns: int, stall_ms: float, error: str
    ) -> SwapEvent:
        """Return the event of a request whose set was prepared, or could not be.

        Args:
            serving: The mix that served before.
            ready: How preparing ended.
            stamp_ns: Sensor time.
            stall_ms: How long the frame loop was held up.
            error: Why it does not serve, empty: it does.
        """
        return SwapEvent(
            stamp_ns=stamp_ns,
            from_mix=serving,
            to_mix=self.recipe.mix,
            reason=self.reason,
            committed=not error,
            error=error,
            detection_ms=self.detection_ms,
            fuse_ms=ready.fuse_ms,
            load_ms=ready.load_ms,
            stall_ms=stall_ms,
            ready_ms=max(0.0, ready.done_ms - self.asked_ms),
        )

    def resolve(self, event: SwapEvent) -> None:
        """Answer whoever asked, unless they have withdrawn."""
        if self.future.set_running_or_notify_cancel():
            self.future.set_result(event)
