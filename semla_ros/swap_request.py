"""What a swapper keeps: the wish that is outstanding, and the mixes that served."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from concurrent.futures import Future
from dataclasses import dataclass, field

from semla_ros.answers import SwapEvent
from semla_ros.timing import now_ms
from semla_ros.types import AdapterMix
from semla_ros.weight_set import Recipe


@dataclass(frozen=True, slots=True, eq=False)
class SwapRequest:
    """A wish for other weights or classes; `future` answers whoever asked."""

    mix: AdapterMix
    recipe: Recipe
    reason: str
    origin: str
    detection_ms: float = 0.0
    asked_ms: float = field(default_factory=now_ms)
    future: Future[SwapEvent] = field(default_factory=Future)


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
