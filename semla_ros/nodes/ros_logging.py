"""Standard logging of the core, shown as the node's own log (console, file and /rosout).

ROS writes a line to all three before it returns, which takes milliseconds. The frame loop logs
swaps, so lines wait in a queue and a thread of their own writes them.
"""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from logging.handlers import QueueHandler, QueueListener

from rclpy.impl.rcutils_logger import RcutilsLogger

ROOT = "semla_ros"


class RosHandler(logging.Handler):
    """Forwards records to a ROS logger, level by level."""

    def __init__(self, logger: RcutilsLogger) -> None:
        super().__init__()
        # rclpy tells its call sites apart by line, and refuses one that changes its level
        self._write: Mapping[int, Callable[[str], object]] = {
            logging.DEBUG: lambda text: logger.debug(text),
            logging.INFO: lambda text: logger.info(text),
            logging.WARNING: lambda text: logger.warning(text),
            logging.ERROR: lambda text: logger.error(text),
            logging.CRITICAL: lambda text: logger.fatal(text),
        }

    def emit(self, record: logging.LogRecord) -> None:
        """Write `record` at the ROS level of its own."""
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
        self._write[level](self.format(record))


@dataclass(frozen=True, slots=True)
class Attached:
    """What `detach` undoes."""

    handler: QueueHandler
    listener: QueueListener


def attach(logger: RcutilsLogger) -> Attached:
    """Send what `semla_ros` logs to `logger` from now on; the caller never waits for it."""
    lines: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    handler = QueueHandler(lines)
    listener = QueueListener(lines, RosHandler(logger))
    listener.start()
    root = logging.getLogger(ROOT)
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)  # ROS filters by its own level
    root.propagate = False
    return Attached(handler, listener)


def detach(attached: Attached) -> None:
    """Undo `attach`, once what is waiting has been written."""
    root = logging.getLogger(ROOT)
    root.removeHandler(attached.handler)
    root.setLevel(logging.NOTSET)
    root.propagate = True
    attached.listener.stop()
