"""Ends a process whose main loop has stopped, when no line of Python can run any more.

rclpy holds the interpreter while it publishes. A subscriber that is killed at the wrong moment
leaves a mutex of Fast DDS's shared memory locked for ever, and the next publication to it never
returns: no thread, no timer, no signal handler of this process then runs again.
"""

from __future__ import annotations

import faulthandler

from semla_ros.core.timing import now_ms

_EVERY_MS = 1000.0


class Lifeline:
    """Ends the process, with every thread's traceback on stderr, if `renew` is not called in time.

    The watching thread is faulthandler's, which needs no interpreter. One for each process.
    """

    def __init__(self, seconds: float) -> None:
        """Start watching; `seconds` may pass between two calls of `renew`."""
        self._seconds = seconds
        self._renewed_ms = now_ms()
        faulthandler.dump_traceback_later(seconds, exit=True)

    def renew(self) -> None:
        """Say that the main loop goes on; cheap enough for every turn."""
        if now_ms() - self._renewed_ms >= _EVERY_MS:
            self._renewed_ms = now_ms()
            faulthandler.dump_traceback_later(self._seconds, exit=True)


def pause() -> None:
    """Watch no more until the lifeline is renewed: something begins that may take minutes."""
    faulthandler.cancel_dump_traceback_later()
