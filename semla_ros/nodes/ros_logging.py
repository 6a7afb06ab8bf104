"""Standard logging of the core, shown as the node's own log (console, file and /rosout)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

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


def attach(logger: RcutilsLogger) -> RosHandler:
    """Send what `semla_ros` logs to `logger` from now on; return the handler for `detach`."""
    handler = RosHandler(logger)
    root = logging.getLogger(ROOT)
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)  # ROS filters by its own level
    root.propagate = False
    return handler


def detach(handler: RosHandler) -> None:
    """Undo `attach`."""
    root = logging.getLogger(ROOT)
    root.removeHandler(handler)
    root.setLevel(logging.NOTSET)
    root.propagate = True
