"""A process of ROS 2 that Ctrl-C and SIGTERM end between two steps, however often they come.

`ros2 launch` and the terminal both send SIGINT, so a second one is the rule, not the exception.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import rclpy
from rclpy.executors import Executor
from rclpy.signals import SignalHandlerOptions

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
POLL_S = 0.25
"""How often a main loop should look at the flag."""


class StopFlag:
    """Becomes true with the first SIGINT or SIGTERM; to be made in the main thread."""

    def __init__(self) -> None:
        self._is_set = False
        for each in _SIGNALS:
            signal.signal(each, self._set)

    def __bool__(self) -> bool:
        return self._is_set

    def _set(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._is_set = True
        for each in _SIGNALS:  # ending, Python puts back the default, which kills, unless ignored
            signal.signal(each, signal.SIG_IGN)


def _end_within(seconds: float) -> None:
    """End the process so long after its first signal, whatever hangs then, native code included.

    The number of a signal is written to a pipe by the C handler, which needs no Python.
    """
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)

    def watch() -> None:
        while os.read(heard, 1)[0] not in _SIGNALS:
            pass
        time.sleep(seconds)
        os._exit(1)

    threading.Thread(target=watch, name="semla-exit", daemon=True).start()


@contextmanager
def ros_process(
    arguments: Sequence[str] | None = (), *, ends_within_s: float | None = None
) -> Iterator[StopFlag]:
    """Be a process of ROS 2 inside; yields the flag to look at.

    Args:
        arguments: For ROS; None: those of the command line.
        ends_within_s: So long after a signal the process ends even if something hangs; None: it
            takes the time it needs, as whoever has to finish a file must.

    Raises:
        SystemExit: ROS refuses the arguments, such as a parameter file that is missing; the
            process ends with the reason and exit code 1.
    """
    stop = StopFlag()
    if ends_within_s is not None:
        _end_within(ends_within_s)
    given = None if arguments is None else list(arguments)
    try:
        rclpy.init(args=given, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # RCLError and UnknownROSArgsError
        reason = " ".join(str(error).split())
        raise SystemExit(f"ROS 2 refuses what follows --ros-args, correct it: {reason}") from error
    try:
        yield stop
    finally:
        rclpy.try_shutdown()


def spin_until(ended: Callable[[], bool], executor: Executor) -> None:
    """Spin until `ended`; `spin` of the event-driven executor cannot be left from outside."""
    while not ended():
        executor.spin_once(timeout_sec=POLL_S)
