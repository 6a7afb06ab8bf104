"""What a process uses, sampled from outside: processor time, memory, threads, context switches."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType

from semla_ros.bench.measures import summary
from semla_ros.errors import EvaluationError

PERIOD_S = 0.1
_MIB = 2.0**20
_WATCH_S = 0.01
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a process and at the whole machine.

    Attributes:
        seconds: Steady clock.
        cpu_s: Processor time of the process, user and system, all threads.
        rss_bytes: Resident memory.
        machine_busy_s, machine_s: Processor time of the whole machine, busy and in all.
    """

    seconds: float
    cpu_s: float
    rss_bytes: float
    machine_busy_s: float
    machine_s: float


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process used over some time.

    Attributes:
        cpu_percent: Of one core, mean.
        rss_mib: At the end.
        threads: At the end.
        switches: Voluntary and forced context switches.
        ended_s: Steady clock at the end.
        ros2: `ResourceMetrics.*` of ros2_benchmark, for the whole machine.
    """

    cpu_percent: float
    rss_mib: float
    threads: int
    switches: tuple[int, int]
    ended_s: float
    ros2: Mapping[str, float]


class Sampler:
    """Samples process `pid` in a thread while its context is open.

    Example: `with Sampler(pid) as sampler: ...` and then `sampler.usage()`.
    """

    def __init__(self, pid: int, *, period_s: float = PERIOD_S) -> None:
        """Prepare.

        Raises:
            EvaluationError: This system has no /proc.
        """
        if not (_PROC / "self" / "stat").is_file():
            raise EvaluationError("sampling a process needs Linux's /proc, found none here")
        self._pid = pid
        self._period_s = period_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="semla-sampler", daemon=True)
        self._samples: list[Sample] = []
        self._switches = (0, 0)

    def __enter__(self) -> Sampler:
        self._switches = _status(self._pid)[1]
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def usage(self) -> Usage:
        """Return what was used while the context was open."""
        threads, switches = _status(self._pid)
        before = self._switches
        return usage_of(
            self._samples,
            threads=threads,
            switches=(switches[0] - before[0], switches[1] - before[1]),
        )

    def _run(self) -> None:
        while True:
            self._samples.append(sample(self._pid))
            if self._stop.wait(self._period_s):
                self._samples.append(sample(self._pid))
                return


def sample(pid: int) -> Sample:
    """Return one look at process `pid`.

    Raises:
        EvaluationError: It is gone.
    """
    tick, page = float(os.sysconf("SC_CLK_TCK")), float(os.sysconf("SC_PAGE_SIZE"))
    try:
        fields = (_PROC / str(pid) / "stat").read_text(encoding="ascii").rpartition(")")[2].split()
        machine = (_PROC / "stat").read_text(encoding="ascii").splitlines()[0].split()[1:]
    except OSError as error:
        raise EvaluationError(f"process {pid} is gone: {error}") from error
    ticks = [float(word) for word in machine[:8]]
    idle = ticks[3] + ticks[4]
    return Sample(
        time.perf_counter(),
        (float(fields[11]) + float(fields[12])) / tick,
        float(fields[21]) * page,
        (sum(ticks) - idle) / tick,
        sum(ticks) / tick,
    )


def resident_mib() -> float:
    """Return the resident memory of this process, MiB."""
    return sample(os.getpid()).rss_bytes / _MIB


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


def usage_of(samples: list[Sample], *, threads: int, switches: tuple[int, int]) -> Usage:
    """Return what `samples`, at least two, add up to.

    Raises:
        EvaluationError: Fewer than two.
    """
    if len(samples) < 2:
        raise EvaluationError(f"expected at least two samples, got {len(samples)}")
    first, last = samples[0], samples[-1]
    elapsed = max(last.seconds - first.seconds, 1e-9)
    return Usage(
        100 * (last.cpu_s - first.cpu_s) / elapsed,
        last.rss_bytes / _MIB,
        threads,
        switches,
        last.seconds,
        _ros2(samples),
    )


def _ros2(samples: list[Sample]) -> dict[str, float]:
    shares = [
        100 * (b.machine_busy_s - a.machine_busy_s) / (b.machine_s - a.machine_s)
        for a, b in pairwise(samples)
        if b.machine_s > a.machine_s
    ]
    over = summary(shares)
    if not shares:
        return {}
    mean = over["mean"]
    deviation = (sum((s - mean) ** 2 for s in shares) / len(shares)) ** 0.5
    return {
        "ResourceMetrics.MAX_OVERALL_CPU_UTILIZATION": over["max"],
        "ResourceMetrics.MIN_OVERALL_CPU_UTILIZATION": min(shares),
        "ResourceMetrics.MEAN_OVERALL_CPU_UTILIZATION": mean,
        "ResourceMetrics.STDDEV_OVERALL_CPU_UTILIZATION": deviation,
    }


def _status(pid: int) -> tuple[int, tuple[int, int]]:
    """Return threads, and voluntary and forced context switches, summed over threads."""
    voluntary = forced = threads = 0
    for task in (_PROC / str(pid) / "task").glob("*/status"):
        try:
            text = task.read_text(encoding="ascii", errors="replace")
        except OSError:
            continue  # the thread has ended
        found = re.findall(r"^(?:non)?voluntary_ctxt_switches:\s*(\d+)", text, re.MULTILINE)
        voluntary, forced = voluntary + int(found[0]), forced + int(found[1])
        threads += 1
    return threads, (voluntary, forced)
