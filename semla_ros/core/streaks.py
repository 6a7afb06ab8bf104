"""Which fault is news: one log line for each streak of equal ones, in whatever order they come."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

from semla_ros.core.timing import now_ms

QUIET_MS = 10_000.0
"""A fault that did not come for this long is news when it comes again."""

MAX_KINDS = 32
"""Kinds told apart at a time; what comes beyond is one kind, so that no input fills the log."""

_VALUE = re.compile(
    r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|0x[0-9a-fA-F]+|[-+]?\d[\d.]*(?:e-?\d+)?"""
)


def kind_of(error: object) -> str:
    """Return the kind of a fault: its class and its message without quoted texts and numbers."""
    name = f"{type(error).__name__}: " if isinstance(error, BaseException) else ""
    return name + _VALUE.sub("#", str(error))


class Streaks:
    """Tells the first fault of a streak from the others of its kind; thread-safe.

    A streak of a kind ends when none came for `QUIET_MS`: faults that alternate with successes,
    or with faults of another kind, are one streak still.
    """

    def __init__(self, clock: Callable[[], float] = now_ms) -> None:
        """Start without faults; `clock` returns milliseconds."""
        self._clock = clock
        self._last_ms: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def begins(self, stage: str, error: object) -> bool:
        """Return whether a fault is the first of its streak; call it once for each.

        Args:
            stage: Where it happened.
            error: What happened: an exception, or its message.
        """
        kind, now = (stage, kind_of(error)), self._clock()
        with self._lock:
            self._last_ms = {k: t for k, t in self._last_ms.items() if now - t <= QUIET_MS}
            if kind not in self._last_ms and len(self._last_ms) >= MAX_KINDS:
                kind = ("", "")
            first = kind not in self._last_ms
            self._last_ms[kind] = now
        return first
