"""Every swap that was asked for, and what became of it; counted where requests are made."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from semla_ros.core.answers import SwapEvent
from semla_ros.pipeline.swap import AdapterSwapper

REQUESTED, COMMITTED, FAILED, SUPERSEDED = "requested", "committed", "failed", "superseded"
LOGGED = "logged"


class SwapLedger:
    """Counts the requests to a swapper, their outcomes and the lines of its log; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def watch(self, swapper: AdapterSwapper) -> None:
        """Count what is asked of `swapper` from now on."""
        request = swapper.request

        def counted(*args: Any, **named: Any) -> Future[SwapEvent]:  # noqa: ANN401  passed on
            self._count(REQUESTED)
            future = request(*args, **named)
            future.add_done_callback(lambda done: self._count(_outcome(done)))
            return future

        swapper.request = counted  # type: ignore[method-assign]

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
        logger, handler = (
            logging.getLogger("semla_ros.pipeline.swap"),
            logging.Handler(logging.INFO),
        )
        handler.emit = self._logged  # type: ignore[method-assign]
        level, shown = logger.level, logger.propagate
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = shown

    def _logged(self, record: logging.LogRecord) -> None:
        if str(record.msg).startswith("swap to "):
            self._count(LOGGED)

    def _count(self, kind: str) -> None:
        with self._lock:
            self._counts[kind] += 1


def _outcome(done: Future[SwapEvent]) -> str:
    if done.cancelled() or done.exception() is not None:
        return FAILED
    event = done.result()
    if event.committed:
        return COMMITTED
    return SUPERSEDED if event.error.startswith("superseded") else FAILED
