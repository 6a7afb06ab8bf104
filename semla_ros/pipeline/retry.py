"""When to try again what failed."""

from __future__ import annotations

FIRST_WAIT_NS, LONGEST_WAIT_NS = 1_000_000_000, 16_000_000_000
"""How long after a failure it is tried again, doubled each time; by stream time, so that a replay
tries at the same frames."""


class RetryWait:
    """Waits of one failure, the first from when it is asked first."""

    def __init__(self) -> None:
        """Have failed just now."""
        self._asked_ns: int | None = None
        self._wait_ns = FIRST_WAIT_NS

    def over(self, time_ns: int) -> bool:
        """Return whether to try again now, by stream time in ns; the next wait begins then.

        Time that steps back starts the wait anew.
        """
        if self._asked_ns is None or time_ns < self._asked_ns:
            self._asked_ns = time_ns
        if time_ns - self._asked_ns < self._wait_ns:
            return False
        self._asked_ns = time_ns
        self._wait_ns = min(2 * self._wait_ns, LONGEST_WAIT_NS)
        return True
