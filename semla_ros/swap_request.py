"""What a swapper keeps: the wish that is outstanding and its end, and the mixes that served."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from concurrent.futures import Future
from dataclasses import dataclass, field

from semla_ros.answers import SwapEvent
from semla_ros.timing import now_ms
from semla_ros.types import AdapterMix
from semla_ros.weight_set import Prepared, Recipe


@dataclass(frozen=True, slots=True, eq=False)
class SwapRequest:
    """One request of an `AdapterSwapper`.

    Attributes:
        mix: What was asked for.
        recipe: What is prepared for it; another mix where one near to it served.
        reason: See `SwapEvent.reason`.
        origin: See `SwapEvent.origin`.
        detection_ms: See `SwapEvent.detection_ms`.
        asked_ms: When, on the clock of `now_ms`.
        future: Answers whoever asked; cancelled, the request is withdrawn.
    """

    mix: AdapterMix
    recipe: Recipe
    reason: str
    origin: str
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
            origin=self.origin,
            deviation=2 * self.recipe.mix.difference(self.mix),
            ready_ms=max(0.0, ready.done_ms - self.asked_ms),
        )

    def resolve(self, event: SwapEvent) -> None:
        """Answer whoever asked, unless they have withdrawn."""
        if self.future.set_running_or_notify_cancel():
            self.future.set_result(event)


class RecentMixes:
    """Mixes that served not long ago: their text features are still in memory."""

    def __init__(self, size: int) -> None:
        """Remember up to `size`."""
        self._mixes: deque[AdapterMix] = deque(maxlen=size)

    def add(self, mix: AdapterMix) -> None:
        """Remember `mix` as the newest."""
        if mix in self._mixes:
            self._mixes.remove(mix)
        self._mixes.append(mix)

    def nearest(
        self,
        mix: AdapterMix,
        *,
        tolerance: float,
        other_than: AdapterMix,
        without: Collection[str] = (),
    ) -> AdapterMix | None:
        """Return the mix nearest to `mix` within sum |w - w'| <= tolerance, None without one.

        Args:
            mix: Wanted.
            tolerance: 0 finds nothing.
            other_than: Left out: the mix that serves.
            without: Adapters that it must not have.
        """
        if tolerance <= 0:
            return None
        near = [
            (2 * each.difference(mix), each)
            for each in self._mixes
            if each != other_than and set(without).isdisjoint(each.names)
        ]
        best = min(near, key=lambda x: x[0], default=None)
        return best[1] if best is not None and best[0] <= tolerance else None

    def clear(self) -> None:
        """Forget all."""
        self._mixes.clear()
