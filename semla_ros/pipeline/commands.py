"""Orders from other threads, carried out one after the other between frames."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple

from semla_ros.core.answers import SwapEvent
from semla_ros.core.errors import EngineError, SemlaError

MAX_WAITING = 64

Start = Callable[[int], "Future[SwapEvent]"]
"""Called on the frame loop with its stamp; returns the future of the swap it asks for."""


class _Command(NamedTuple):
    """An order and what its caller waits for."""

    start: Start
    answer: Future[SwapEvent]


class CommandQueue:
    """Starts a command only when the one before has its answer: none supersedes another.

    What `refuse` has answered is never carried out: neither what waits, nor what is still being
    prepared, nor what was announced and only arrives afterwards.
    """

    def __init__(self) -> None:
        """Wait for commands."""
        self._waiting: deque[_Command] = deque()
        self._announced: set[Future[SwapEvent]] = set()
        self._current: Future[SwapEvent] | None = None
        self._refusal: SemlaError = EngineError("refused")
        self._closed = False
        self._lock = threading.RLock()

    def announce(self) -> Future[SwapEvent]:
        """Return the answer to a command whose `put` or `fail` comes later; any thread."""
        answer: Future[SwapEvent] = Future()
        with self._lock:
            self._announced.add(answer)
        return answer

    def put(self, start: Start, answer: Future[SwapEvent] | None = None) -> Future[SwapEvent]:
        """Return the answer to come; any thread.

        Args:
            start: Carries the command out.
            answer: From `announce`; refused meanwhile, nothing happens.

        Raises:
            EngineError: Too many commands wait already.
        """
        with self._lock:
            if answer is not None and answer not in self._announced:
                return answer
            if len(self._waiting) >= MAX_WAITING:
                raise EngineError(
                    f"expected at most {MAX_WAITING} waiting commands: wait for their answers"
                )
            command = _Command(start, Future() if answer is None else answer)
            self._announced.discard(command.answer)
            if self._closed:
                _fail(command.answer, self._refusal)
            else:
                self._waiting.append(command)
        return command.answer

    def fail(self, answer: Future[SwapEvent], error: Exception) -> Future[SwapEvent]:
        """Return an announced answer, now `error` unless it was refused meanwhile; any thread."""
        with self._lock:
            announced = answer in self._announced
            self._announced.discard(answer)
        if announced:
            _fail(answer, error)
        return answer

    def start_next(self, stamp_ns: int) -> None:
        """Start the next command if none is under way; only on the frame loop."""
        with self._lock:
            while self._waiting and (self._current is None or self._current.done()):
                command = self._waiting.popleft()
                if command.answer.set_running_or_notify_cancel():
                    self._start(command, stamp_ns)

    def refuse(self, error: SemlaError, *, close: bool = False) -> None:
        """Answer every command that has no answer yet with `error`; any thread.

        One whose swap is being published this moment is carried out and says so.

        Args:
            error: The answer.
            close: Answer those that still come, too.
        """
        with self._lock:
            self._refusal, self._closed = error, self._closed or close
            refused = [command.answer for command in self._waiting] + list(self._announced)
            self._waiting.clear()
            self._announced.clear()
            current = self._current
        for answer in refused:
            _fail(answer, error)
        if current is not None:
            current.cancel()

    def _start(self, command: _Command, stamp_ns: int) -> None:
        try:
            swap = command.start(stamp_ns)
        except SemlaError as error:
            command.answer.set_exception(error)
            return
        self._current = swap
        swap.add_done_callback(lambda done: self._answer(command.answer, done))

    def _answer(self, answer: Future[SwapEvent], swap: Future[SwapEvent]) -> None:
        if swap.cancelled():
            answer.set_exception(self._refusal)
        else:
            answer.set_result(swap.result())


def _fail(answer: Future[SwapEvent], error: Exception) -> None:
    """Answer with `error` whoever has not cancelled."""
    if answer.set_running_or_notify_cancel():
        answer.set_exception(error)
