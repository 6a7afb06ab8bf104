"""Every swap that was asked for, and what became of it; counted where requests are made."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from semla_ros.answers import SwapEvent
from semla_ros.swap import AdapterSwapper

REQUESTED, COMMITTED, FAILED, SUPERSEDED = "requested", "committed", "failed", "superseded"
_LOGGER = "semla_ros.swap"


class SwapLedger:
    """Counts the requests to a swapper and their outcomes; thread-safe.

    Attributes:
        logged: How many attempts the swapper wrote to its log.
    """

    def __init__(self) -> None:
        self.logged = 0
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def watch(self, swapper: AdapterSwapper) -> None:
        """Count what is asked of `swapper` from now on."""
        swapper.request = self._counted(swapper.request)  # type: ignore[method-assign]

    def count(self, kind: str) -> int:
        """Return how many requests were, or ended as, `kind`."""
        with self._lock:
            return self._counts[kind]

    @property
    def balanced(self) -> bool:
        """Whether every request ended in exactly one way."""
        with self._lock:
            ended = sum(self._counts[kind] for kind in (COMMITTED, FAILED, SUPERSEDED))
            return ended == self._counts[REQUESTED]

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Count what the swapper logs while the context is open, instead of showing it."""
        logger = logging.getLogger(_LOGGER)
        level, shown = logger.level, logger.propagate
        counter = _Counter(self)
        logger.addHandler(counter)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        try:
            yield
        finally:
            logger.removeHandler(counter)
            logger.setLevel(level)
            logger.propagate = shown

    def _counted(self, request: Callable[..., Future[SwapEvent]]) -> Callable[..., Any]:
        def counted(*args: Any, **named: Any) -> Future[SwapEvent]:  # noqa: ANN401  passed on
            self._count(REQUESTED)
            future = request(*args, **named)
            future.add_done_callback(lambda done: self._count(_outcome(done)))
            return future

        return counted

    def _count(self, kind: str) -> None:
        with self._lock:
            self._counts[kind] += 1


class _Counter(logging.Handler):
    """Counts the lines about swaps."""

    def __init__(self, ledger: SwapLedger) -> None:
        super().__init__(logging.INFO)
        self._ledger = ledger

    def emit(self, record: logging.LogRecord) -> None:
        """Count one line."""
        self._ledger.logged += str(record.msg).startswith("swap to ")


def _outcome(done: Future[SwapEvent]) -> str:
    if done.cancelled() or done.exception() is not None:
        return FAILED
    event = done.result()
    if event.committed:
        return COMMITTED
    return SUPERSEDED if event.error.startswith("superseded") else FAILED
