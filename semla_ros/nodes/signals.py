"""Ctrl-C and SIGTERM as a flag: no exception in the middle of anything, however often they come.

`ros2 launch` and the terminal both send SIGINT, so a second one is the rule, not the exception.
"""

from __future__ import annotations

import signal
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
POLL_S = 0.25
"""How often a main loop should look at the flag."""


class StopFlag:
    """Becomes true with the first SIGINT or SIGTERM; to be made in the main thread.

    Use with `rclpy.init(signal_handler_options=SignalHandlerOptions.NO)`.
    """

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
