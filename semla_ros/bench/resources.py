"""What a process uses, sampled from outside: processor time, memory, threads, context switches."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from semla_ros.core.errors import EvaluationError

_MIB = 2.0**20
_WATCH_S = 0.01


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process used over some time.

    Attributes:
        cpu_percent: Of one core, mean.
        rss_mib: At the end.
        threads: At the end.
        forced: Context switches that the system forced, of all threads.
        ended_s: Steady clock at the end.
    """

    cpu_percent: float
    rss_mib: float
    threads: int
    forced: int
    ended_s: float


class Sampler:
    """Watches process `pid` from its making to `usage()`."""

    def __init__(self, pid: int) -> None:
        """Begin.

        Raises:
            EvaluationError: It is gone.
        """
        self._pid = pid
        self._began = self._look()

    def usage(self) -> Usage:
        """Return what was used since.

        Raises:
            EvaluationError: The process is gone.
        """
        began_s, cpu_s, forced, _, _ = self._began
        now_s, now_cpu_s, now_forced, threads, rss = self._look()
        percent = 100 * (now_cpu_s - cpu_s) / max(now_s - began_s, 1e-9)
        return Usage(percent, rss / _MIB, threads, now_forced - forced, now_s)

    def _look(self) -> tuple[float, float, int, int, int]:
        """Return clock, processor time, forced switches, threads and resident bytes."""
        try:
            process = psutil.Process(self._pid)
            times, threads = process.cpu_times(), process.threads()
            forced = sum(_forced(thread.id) for thread in threads)
            rss = process.memory_info().rss
        except psutil.Error as error:
            raise EvaluationError(f"process {self._pid} is gone: {error}") from error
        return time.perf_counter(), times.user + times.system, forced, len(threads), rss


def _forced(thread: int) -> int:
    try:
        return int(psutil.Process(thread).num_ctx_switches().involuntary)
    except psutil.Error:
        return 0  # the thread has ended


def resident_mib() -> float:
    """Return the resident memory of this process, MiB."""
    return float(psutil.Process().memory_info().rss) / _MIB


@contextmanager
def peak_growth() -> Iterator[list[float]]:
    """Yield a list whose only element becomes the growth of resident memory at its peak, MiB."""
    base = resident_mib()
    peak, stop = [0.0], threading.Event()

    def watch() -> None:
        while not stop.wait(_WATCH_S):
            peak[0] = max(peak[0], resident_mib() - base)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()
