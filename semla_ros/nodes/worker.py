"""A one-slot mailbox and the thread that empties it: the newest frame wins, drops are counted."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from semla_ros.core.streaks import Streaks
from semla_ros.core.timing import now_ms

_log = logging.getLogger(__name__)

T = TypeVar("T")

RECENT = 30
"""How many of the newest items the share of failures is of."""

STEP_ASIDE_S = 20e-6
"""Long enough for the worker to take the interpreter.

Whoever puts would keep it until its own next wait: 0.7 instead of 0.2 ms from callback to worker,
of 5.5 instead of 5.0 ms over the network (`semla bench node` at 30 Hz, column `queue`).
"""


class Mailbox(Generic[T]):
    """Holds at most one item; a newer one replaces it."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._item: T | None = None
        self._closed = False
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """How many items were replaced before anybody took them."""
        return self._dropped

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def put(self, item: T) -> None:
        """Put `item` in the slot, dropping what was not taken; ignored once closed."""
        with self._condition:
            if self._closed:
                return
            if self._item is not None:
                self._dropped += 1
            self._item = item
            self._condition.notify()

    def take(self, timeout_s: float) -> T | None:
        """Return the item, waiting at most `timeout_s` s; None if none came or it is closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._item is not None or self._closed, timeout_s)
            item, self._item = self._item, None
            return None if self._closed else item

    def close(self) -> None:
        """Wake the taker for good; an item still in the slot is discarded."""
        with self._condition:
            self._closed = True
            self._item = None
            self._condition.notify_all()


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What a worker has been through.

    Attributes:
        processed: Items handled without an error.
        dropped: Items replaced in the mailbox by a newer one.
        errors: Kind of error -> how often.
        consecutive_errors: Items in a row that failed, up to now.
        last_error: Kind and message of the newest error, empty if none.
        busy_s: For how long the item in hand has been handled, 0 without one.
        recent, recent_errors: How many of the newest items are remembered (at most `RECENT`), and
            how many of these failed.
    """

    processed: int
    dropped: int
    errors: dict[str, int]
    consecutive_errors: int
    last_error: str
    busy_s: float = 0.0
    recent: int = 0
    recent_errors: int = 0


class Worker(Generic[T]):
    """Runs `handle` on the newest item in a thread of its own, whatever `handle` raises.

    `idle` runs in the same thread whenever no item came for `idle_s`. Both may raise anything:
    the error is counted by its class, logged once a streak of its kind, and the thread goes on.
    """

    def __init__(
        self,
        handle: Callable[[T], None],
        *,
        idle: Callable[[], None],
        idle_s: float,
        name: str = "semla-worker",
    ) -> None:
        self._handle = handle
        self._idle = idle
        self._idle_s = idle_s
        self._mailbox: Mailbox[T] = Mailbox()
        self._lock = threading.Lock()
        self._errors: Counter[str] = Counter()
        self._processed = 0
        self._consecutive = 0
        self._recent: deque[bool] = deque(maxlen=RECENT)
        self._last_error = ""
        self._streaks = Streaks()
        self._since_ms: float | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def closed(self) -> bool:
        """Whether `stop` was called: nobody waits for the item in hand any more."""
        return self._mailbox.closed

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, item: T) -> None:
        """Hand over an item and step aside for a moment, so that the worker begins with it."""
        self._mailbox.put(item)
        time.sleep(STEP_ASIDE_S)

    def stop(self, timeout_s: float = 10.0) -> bool:
        """End the thread after the item in hand; return whether it ended in time."""
        self._mailbox.close()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def report(self) -> WorkerReport:
        """Return the counters (thread-safe)."""
        since_ms = self._since_ms
        busy_s = 0.0 if since_ms is None else (now_ms() - since_ms) * 1e-3
        with self._lock:
            return WorkerReport(
                self._processed,
                self._mailbox.dropped,
                dict(self._errors),
                self._consecutive,
                self._last_error,
                busy_s,
                len(self._recent),
                sum(self._recent),
            )

    def _run(self) -> None:
        while not self._mailbox.closed:
            item = self._mailbox.take(self._idle_s)
            if item is not None:
                self._since_ms = now_ms()
                self._guard(lambda item=item: self._handle(item), counts=True)  # type: ignore[misc]
                self._since_ms = None
            elif not self._mailbox.closed:
                self._guard(self._idle, counts=False)

    def _guard(self, work: Callable[[], None], *, counts: bool) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  the one place where a frame's error ends
            self._failed(error, counts=counts)
        else:
            if counts:
                with self._lock:
                    self._processed += 1
                    self._consecutive = 0
                    self._recent.append(False)

    def _failed(self, error: Exception, *, counts: bool) -> None:
        kind = type(error).__name__
        with self._lock:
            if counts:
                self._consecutive += 1
                self._recent.append(True)
            self._errors[kind] += 1
            self._last_error = f"{kind}: {error}"
        if self._streaks.begins("frame" if counts else "idle", error):
            _log.warning("%s: %s", kind, error)
            _log.debug("where it came from", exc_info=error)
