"""Where slow work runs: at once on the caller's thread, or on one thread of low priority."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

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


def background_executor(name: str) -> ThreadPoolExecutor:
    """Return an executor of one thread that yields the processor to the frame loop."""
    return ThreadPoolExecutor(1, thread_name_prefix=name, initializer=lower_priority)


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
