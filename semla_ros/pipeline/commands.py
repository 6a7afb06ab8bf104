"""Orders from other threads, carried out one after the other between frames."""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from semla_ros.answers import SwapEvent
from semla_ros.errors import EngineError, SemlaError

MAX_WAITING = 64


@dataclass(frozen=True, slots=True, eq=False)
class Command:
    """An order and its answer.

    Attributes:
        start: Called on the frame loop with its stamp; returns the future of the swap it asks for.
        answer: What the caller waits for.
    """

    start: Callable[[int], Future[SwapEvent]]
    answer: Future[SwapEvent] = field(default_factory=Future)


class CommandQueue:
    """Starts a command only when the one before has its answer: none supersedes another."""

    def __init__(self) -> None:
        """Wait for commands."""
        self._waiting: queue.Queue[Command] = queue.Queue(MAX_WAITING)
        self._current: Future[SwapEvent] | None = None
        self._closed: SemlaError | None = None

    def put(self, command: Command) -> Future[SwapEvent]:
        """Return the answer to come; any thread.

        Raises:
            EngineError: Too many commands wait already.
        """
        try:
            self._waiting.put_nowait(command)
        except queue.Full as error:
            raise EngineError(
                f"expected at most {MAX_WAITING} waiting commands: wait for their answers"
            ) from error
        if self._closed is not None:
            self.drain(self._closed)
        return command.answer

    def start_next(self, stamp_ns: int) -> None:
        """Start the next command if none is under way; only on the frame loop."""
        while self._current is None or self._current.done():
            try:
                command = self._waiting.get_nowait()
            except queue.Empty:
                return
            if command.answer.set_running_or_notify_cancel():
                self._start(command, stamp_ns)

    def drain(self, error: SemlaError) -> None:
        """Answer every waiting command with `error`, and those that still come."""
        self._closed = error
        while True:
            try:
                command = self._waiting.get_nowait()
            except queue.Empty:
                return
            if command.answer.set_running_or_notify_cancel():
                command.answer.set_exception(error)

    def _start(self, command: Command, stamp_ns: int) -> None:
        try:
            swap = command.start(stamp_ns)
        except SemlaError as error:
            command.answer.set_exception(error)
            return
        self._current = swap
        swap.add_done_callback(lambda done: command.answer.set_result(done.result()))
