import os
import sys
import threading

import pytest

from semla_ros.executors import BACKGROUND_NICENESS, InlineExecutor, background_executor


def test_inline_runs_at_once_on_the_same_thread_and_keeps_exceptions():
    executor = InlineExecutor()
    assert executor.submit(threading.get_ident).result(0) == threading.get_ident()
    failed = executor.submit(int, "x")
    assert isinstance(failed.exception(0), ValueError)


@pytest.mark.skipif(sys.platform != "linux", reason="needs niceness per thread (Linux)")
def test_the_background_thread_is_nice_and_the_frame_loop_is_not():
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def own() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    with background_executor("test") as executor:
        assert executor.submit(own).result(5) == max(before, BACKGROUND_NICENESS)
    assert own() == before
