"""Lines of the core reach the node's log in order, and nobody waits for them."""

import logging
import threading

from semla_ros.nodes.ros_logging import attach, detach


class SlowLogger:
    """Writes nothing until it is let go on."""

    def __init__(self):
        self.go_on, self.written = threading.Event(), []

    def _write(self, level, text):
        self.go_on.wait(20.0)
        self.written.append((level, text))

    def __getattr__(self, level):
        return lambda text: self._write(level, text)


def test_a_slow_log_holds_nobody_up_and_loses_nothing():
    slow, log = SlowLogger(), logging.getLogger("semla_ros.test")
    attached = attach(slow)
    try:
        for number in range(50):
            log.info("line %d", number)
        log.error("the last")
        assert slow.written == []
        slow.go_on.set()
    finally:
        slow.go_on.set()
        detach(attached)
    assert slow.written == [*(("info", f"line {n}") for n in range(50)), ("error", "the last")]


def test_after_detach_nothing_is_forwarded():
    slow = SlowLogger()
    slow.go_on.set()
    detach(attach(slow))
    logging.getLogger("semla_ros.test").error("unheard")
    assert slow.written == []
