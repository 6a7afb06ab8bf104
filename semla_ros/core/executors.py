"""Where slow work runs: at once on the caller's thread, or on one thread of low priority."""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")

BACKGROUND_NICENESS = 15

_MAPS = Path("/proc/self/maps")
_SET_THREADS = tuple(
    f"{prefix}openblas_set_num_threads{suffix}"
    for prefix in ("scipy_", "")
    for suffix in ("64_", "")
)


class InlineExecutor(Executor):
    """Runs each call inside `submit`: no threads, the same order every time."""

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Return a finished future with the result or the exception of the call."""
        future: Future[_T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  worker boundary, as in a thread pool
            future.set_exception(error)
        return future


class BackgroundExecutor(Executor):
    """One thread that yields the processor to the frame loop.

    A process can end while it hangs; the standard pool's threads are joined at the end.
    """

    def __init__(self, name: str) -> None:
        """Start the thread."""
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]
        self._jobs = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Return the future of a call that runs after those submitted before it.

        Raises:
            RuntimeError: It was shut down.
        """
        future: Future[_T] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("the background was shut down")
            self._jobs.put((future, partial(fn, *args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; those that wait are still run, or cancelled."""
        with self._lock:
            self._closed = True
            waiting = self._taken_back() if cancel_futures else []
            self._jobs.put(None)
        for future in waiting:
            future.cancel()
        if wait:
            self.join()

    def join(self, timeout_s: float | None = None) -> bool:
        """Return whether the thread ended within `timeout_s` s after `shutdown`."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _taken_back(self) -> list[Future[Any]]:
        taken = []
        with contextlib.suppress(queue.Empty):
            while True:
                job = self._jobs.get_nowait()
                if job is not None:
                    taken.append(job[0])
        return taken

    def _run(self) -> None:
        lower_priority()
        while (job := self._jobs.get()) is not None:
            future, call = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call())
            except BaseException as error:  # noqa: BLE001  worker boundary, as in a thread pool
                future.set_exception(error)
            del job, future, call  # what they hold may be large


def end(executor: Executor, *, within_s: float) -> bool:
    """Return whether `executor` has ended; calls that wait are cancelled.

    Args:
        executor: Takes no more calls from now on.
        within_s: How long a `BackgroundExecutor` may take for the call in hand.
    """
    background = isinstance(executor, BackgroundExecutor)
    executor.shutdown(wait=not background, cancel_futures=True)
    return executor.join(within_s) if isinstance(executor, BackgroundExecutor) else True


def lower_priority() -> None:
    """Make the calling thread nice, where the system has niceness per thread (Linux)."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), BACKGROUND_NICENESS)


def use_one_blas_thread() -> int:
    """Return how many OpenBLAS libraries now compute on the calling thread alone.

    Their own threads do not inherit its niceness: a merge in the background would take the cores
    that frames are computed on. Counts 0 where numpy has another BLAS or the system is not Linux.
    """
    try:
        mapped = {
            line.split(maxsplit=5)[-1]
            for line in _MAPS.read_text().splitlines()
            if "openblas" in line
        }
    except OSError:
        return 0
    found = 0
    for path in sorted(mapped):
        with contextlib.suppress(OSError, StopIteration):
            library = ctypes.CDLL(path)
            setter = next(s for s in _SET_THREADS if hasattr(library, s))
            getattr(library, setter)(1)
            found += 1
    return found
