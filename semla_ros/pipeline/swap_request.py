"""One wish for other weights, from the question to its answer."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

from semla_ros.core.answers import SwapEvent
from semla_ros.core.timing import now_ms
from semla_ros.core.types import AdapterMix, Vocabulary
from semla_ros.pipeline.adapter_access import AdapterAccess


@dataclass(slots=True, eq=False)
class SwapRequest:
    """What an `AdapterSwapper` is asked for; each is one attempt, equal content or not.

    Attributes:
        mix, vocabulary: Wanted.
        access: Where its adapters come from.
        reason, detection_ms: See `SwapEvent`.
        proved: Whether it must be proved before it serves.
        asked_ms: When, on the clock of `now_ms`.
        future: Answers whoever asked; cancelled, the request is withdrawn.
        ended: The attempt to prepare it is over: it lies in the idle slot, unless there is an
            `error`.
        fuse_ms, load_ms, ready_ms, error: How it ended, see `SwapEvent`.
    """

    mix: AdapterMix
    vocabulary: Vocabulary
    access: AdapterAccess
    reason: str
    detection_ms: float = 0.0
    proved: bool = True
    asked_ms: float = field(default_factory=now_ms)
    future: Future[SwapEvent] = field(default_factory=Future)
    ended: bool = False
    fuse_ms: float = 0.0
    load_ms: float = 0.0
    ready_ms: float = 0.0
    error: str = ""

    def end(self, spent_ms: Mapping[str, float], error: str) -> None:
        """Note that the attempt is over, how long its stages took, and why it failed, if so."""
        self.fuse_ms, self.load_ms = spent_ms.get("fuse", 0.0), spent_ms.get("load", 0.0)
        self.ready_ms, self.error = max(0.0, now_ms() - self.asked_ms), error
        self.ended = True  # last: the frame loop looks at it first

    def dropped(self, serving: AdapterMix, stamp_ns: int, error: str) -> None:
        """Answer whoever asked, unless they have withdrawn, that it came to nothing."""
        if self.future.set_running_or_notify_cancel():
            event = SwapEvent(
                stamp_ns, serving, self.mix, self.reason, committed=False, error=error
            )
            self.future.set_result(event)

    def event(
        self, serving: AdapterMix, *, stamp_ns: int, stall_ms: float, error: str
    ) -> SwapEvent:
        """Return the event of the ended request.

        Args:
            serving: The mix that served before.
            stamp_ns: Sensor time.
            stall_ms: How long the frame loop was held up.
            error: Why it does not serve, empty: it does.
        """
        return SwapEvent(
            stamp_ns=stamp_ns,
            from_mix=serving,
            to_mix=self.mix,
            reason=self.reason,
            committed=not error,
            error=error,
            detection_ms=self.detection_ms,
            fuse_ms=self.fuse_ms,
            load_ms=self.load_ms,
            stall_ms=stall_ms,
            ready_ms=self.ready_ms,
        )
