"""worker: the newest item wins, drops are counted, nothing an item does ends the thread."""

import logging
import threading

import pytest

from semla_ros.core.errors import FrameError
from semla_ros.nodes.worker import RECENT, Mailbox, Worker

LONG_S = 60.0


def test_the_newest_item_wins_and_the_rest_are_counted():
    box = Mailbox()
    for item in range(5):
        box.put(item)
    assert box.take(0) == 4
    assert box.dropped == 4
    assert box.take(0) is None


def test_a_closed_mailbox_gives_and_takes_nothing():
    box = Mailbox()
    box.put(1)
    box.close()
    box.put(2)
    assert box.take(LONG_S) is None
    assert box.dropped == 0


class Recorded:
    """A worker whose handling can be held up."""

    def __init__(self, idle=lambda: None):
        self.handled = []
        self.busy, self.go = threading.Event(), threading.Event()
        self.done = threading.Semaphore(0)
        self.worker = Worker(self.handle, idle=idle, idle_s=0.01)

    def handle(self, item):
        self.busy.set()
        self.go.wait(LONG_S)
        try:
            if isinstance(item, Exception):
                raise item
            self.handled.append(item)
        finally:
            self.done.release()

    def __enter__(self):
        self.worker.start()
        return self

    def __exit__(self, *_):
        self.go.set()
        assert self.worker.stop()


def test_items_that_come_while_one_is_in_hand_replace_each_other():
    with Recorded() as it:
        it.worker.put("first")
        assert it.busy.wait(LONG_S)
        for item in ("a", "b", "c"):
            it.worker.put(item)
        it.go.set()
        assert it.done.acquire(timeout=LONG_S)
        assert it.done.acquire(timeout=LONG_S)
    assert it.handled == ["first", "c"]
    assert it.worker.report().dropped == 2


def wait_until_idle(it, count):
    for _ in range(count):
        assert it.done.acquire(timeout=LONG_S)


@pytest.mark.parametrize("error", [FrameError("bad"), ValueError("worse"), ZeroDivisionError()])
def test_an_error_is_counted_by_kind_and_the_thread_goes_on(error):
    with Recorded() as it:
        it.go.set()
        it.worker.put(error)
        wait_until_idle(it, 1)
        it.worker.put("good")
        wait_until_idle(it, 1)
    report = it.worker.report()
    assert it.handled == ["good"]
    assert report.errors == {type(error).__name__: 1}
    assert report.last_error.startswith(type(error).__name__)
    assert (report.processed, report.consecutive_errors) == (1, 0)


def test_errors_in_a_row_are_counted_until_a_good_item():
    with Recorded() as it:
        it.go.set()
        for number in range(1, 4):
            it.worker.put(FrameError(f"bad {number}"))
            wait_until_idle(it, 1)
    report = it.worker.report()
    assert report.consecutive_errors == 3
    assert report.last_error == "FrameError: bad 3"


def test_idle_runs_in_the_worker_and_may_fail():
    threads, called = set(), threading.Semaphore(0)

    def idle():
        threads.add(threading.current_thread().name)
        called.release()
        raise RuntimeError("idle fails")

    with Recorded(idle) as it:
        assert called.acquire(timeout=LONG_S)
        assert called.acquire(timeout=LONG_S)
        it.go.set()
        it.worker.put("still alive")
        wait_until_idle(it, 1)
    assert threads == {"semla-worker"}
    report = it.worker.report()
    assert report.errors["RuntimeError"] >= 2
    assert report.consecutive_errors == 0


def test_one_line_is_logged_for_each_kind_of_error_however_often_it_comes(caplog):
    errors = [FrameError(f"expected 100 bytes, got {n}") for n in range(40)]
    errors[20] = FrameError("unknown encoding 'mono12'")
    errors[30] = ValueError("expected 100 bytes, got 7")
    with caplog.at_level(logging.WARNING, logger="semla_ros"), Recorded() as it:
        it.go.set()
        for number, error in enumerate(errors):
            it.worker.put(error if number % 2 else "good" if number not in (20, 30) else error)
            wait_until_idle(it, 1)
    assert [r.getMessage() for r in caplog.records] == [
        "FrameError: expected 100 bytes, got 1",
        "FrameError: unknown encoding 'mono12'",
        "ValueError: expected 100 bytes, got 7",
    ]
    assert it.worker.report().errors == {"FrameError": 21, "ValueError": 1}


def test_failures_among_the_newest_items_are_counted():
    with Recorded() as it:
        it.go.set()
        for number in range(2 * RECENT):
            it.worker.put(FrameError("broken") if number % 2 else "good")
            wait_until_idle(it, 1)
        it.worker.put("good")
        wait_until_idle(it, 1)
    report = it.worker.report()
    assert (report.recent, report.recent_errors) == (RECENT, RECENT // 2)
    assert report.consecutive_errors == 0


def test_stopping_discards_what_waits():
    with Recorded() as it:
        it.worker.put("first")
        assert it.busy.wait(LONG_S)
        it.worker.put("second")
        threading.Timer(0.05, it.go.set).start()
        assert it.worker.stop()
    assert it.handled == ["first"]


def test_stopping_a_worker_that_never_started():
    assert Worker(print, idle=lambda: None, idle_s=1.0).stop()
