"""Images that a camera published and that never reached the node."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from semla_ros.core.timing import now_ms

WINDOW_MS = 30_000.0
"""Time over which the share of lost images is told."""

_PUBLISHERS = 16
"""Publishers whose numbering is followed, the most recent ones."""

_PERIODS, _ENOUGH = 30, 5
"""Intervals between stamps that a camera's period is the median of: at most, at least."""

_PAUSE_NS = 5_000_000_000
"""A longer interval is a pause of the camera, not a loss."""


@dataclass(frozen=True, slots=True)
class LossReport:
    """How many images were lost.

    Attributes:
        lost: Since the start.
        recent: In the last `WINDOW_MS`.
        share: `recent` among all that were published in that time, in [0, 1].
    """

    lost: int = 0
    recent: int = 0
    share: float = 0.0


class TransportLoss:
    """Counts by the publisher's sequence numbers; where there are none, by the images' stamps.

    Lost is also what the middleware replaced by a newer image before the node took it. What the
    middleware itself reports as lost is counted where it is more: then nothing may arrive at all.
    """

    def __init__(
        self, publishers: Callable[[], int], *, clock: Callable[[], float] = now_ms
    ) -> None:
        """Start counting.

        Args:
            publishers: Returns how many there are; asked where sequence numbers come without
                the publisher's identity.
            clock: Returns milliseconds.
        """
        self._publishers = publishers
        self._clock = clock
        self._numbers: OrderedDict[bytes, int] = OrderedDict()
        self._stamp_ns: int | None = None
        self._periods: deque[int] = deque(maxlen=_PERIODS)
        self._arrived = self._missed = self._reported = 0
        self._history: deque[tuple[float, int, int]] = deque()

    def arrived(self, info: Mapping[str, Any], stamp_ns: int) -> None:
        """Take note of an image.

        Args:
            info: rclpy's MessageInfo of it.
            stamp_ns: Its header's stamp.
        """
        self._arrived += 1
        number = info.get("publication_sequence_number")
        if number is None:
            self._missed += self._missed_by_stamp(stamp_ns)
        else:
            gid = info.get("publisher_gid")  # rclpy since 9.1
            self._missed += self._missed_by_number(bytes(gid["data"]) if gid else b"", int(number))

    def reported(self, total: int) -> None:
        """Take note of how many the middleware has counted as lost so far."""
        self._reported = max(self._reported, total)

    def report(self) -> LossReport:
        """Return the losses; called periodically."""
        now, lost = self._clock(), max(self._missed, self._reported)
        self._history.append((now, self._arrived, lost))
        while now - self._history[0][0] > WINDOW_MS:
            self._history.popleft()
        _, arrived, before = self._history[0]
        recent = lost - before
        share = recent / (self._arrived - arrived + recent) if recent else 0.0
        return LossReport(lost, recent, share)

    def _missed_by_number(self, publisher: bytes, number: int) -> int:
        before = self._numbers.pop(publisher, None)
        self._numbers[publisher] = number
        if len(self._numbers) > _PUBLISHERS:
            self._numbers.popitem(last=False)
        if before is None or number <= before + 1:  # the first one, or a restart
            return 0
        if not publisher and self._publishers() != 1:  # two series that cannot be told apart
            return 0
        return number - before - 1

    def _missed_by_stamp(self, stamp_ns: int) -> int:
        before, self._stamp_ns = self._stamp_ns, stamp_ns
        interval = 0 if before is None else stamp_ns - before
        if not 0 < interval <= _PAUSE_NS:
            self._periods.clear()
            return 0
        known = len(self._periods) >= _ENOUGH
        periods = round(interval / median(self._periods)) if known else 1
        if periods > 1:
            return periods - 1
        self._periods.append(interval)
        return 0
