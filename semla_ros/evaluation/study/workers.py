"""Tasks carried out by this process, by several of this machine, or by a Ray cluster.

Every worker opens the bundle once and returns what its tasks give, so the bytes are those of a run
in one process. What fails, or takes its worker down, is tried once more, one at a time.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import closing
from dataclasses import replace
from functools import lru_cache
from typing import Any, ClassVar

from semla_ros.core.cluster import ray_cluster
from semla_ros.core.errors import EvaluationError, SemlaError
from semla_ros.data.tasks import Task
from semla_ros.evaluation.study.evaluate import Progress
from semla_ros.evaluation.study.session import Session, StudySettings
from semla_ros.evaluation.study.tasks import TaskResult, carry_out

_LOG = logging.getLogger(__name__)
_TICK_S = 0.2
_GRACE_S = 60.0
OnDone = Callable[[Task, TaskResult], None]
_Done = Generator[tuple[Task, TaskResult], None, None]


def run_tasks(
    tasks: Sequence[Task],
    settings: StudySettings,
    *,
    on_done: OnDone,
    on_progress: Progress = lambda _: None,
    jobs: int = 1,
    ray: str = "",
) -> None:
    """Carry out `tasks`; Ctrl-C ends it after what the workers have so far was handed over.

    Args:
        tasks: What to do.
        settings: How.
        on_done: Called in this process for every result.
        on_progress: Called in this process with the number of masks made; not by a cluster.
        jobs: How many workers; 1 stays in this process. Of a cluster at most: 0 takes its cores.
        ray: `auto` or the address of a running Ray cluster, to which inputs must be readable;
            `local` starts one here; "" for none.

    Raises:
        EngineUnavailableError: Ray is not installed, or there is no such cluster.
        SemlaError: The bundle cannot be used.
        KeyboardInterrupt: By the user, where other processes do the work.
    """

    def worked(chosen: Sequence[Task], jobs: int) -> _Done:
        if ray:
            return _by_cluster(chosen, settings, address=ray, jobs=jobs)
        if here:
            return _here(chosen, settings, on_progress)
        return _by_processes(chosen, settings, jobs=jobs, on_progress=on_progress)

    here = min(jobs, len(tasks)) < 2
    failed: dict[Task, TaskResult] = {}
    stopped = False
    with closing(worked(tasks, jobs)) as first:
        for task, result in first:
            stopped = stopped or result.interrupted
            if result.error and not result.interrupted:
                _LOG.warning("%s failed and is tried again: %s", task.name, result.error)
                failed[task] = result
            else:
                on_done(task, result)
    if failed:
        for task, result in failed.items() if stopped else worked([*failed], 1):
            on_done(task, result)


def threads_each(settings: StudySettings, workers: int) -> StudySettings:
    """Return `settings` with this machine's cores shared among `workers`, unless it says."""
    if settings.config().threads:
        return settings
    threads = max(1, (os.cpu_count() or 1) // workers)
    return replace(settings, changes={**settings.changes, "threads": threads})


def _here(tasks: Sequence[Task], settings: StudySettings, on_progress: Progress) -> _Done:
    with closing(Session(settings)) as session:
        for task in tasks:
            result = carry_out(session, task, progress=on_progress)
            yield task, result
            if result.interrupted:
                return


def _by_processes(
    tasks: Sequence[Task], settings: StudySettings, *, jobs: int, on_progress: Progress
) -> _Done:
    workers = min(jobs, len(tasks))
    context = multiprocessing.get_context("spawn")
    masks = context.Value("q")
    how = pickle.dumps(threads_each(settings, jobs))
    pools: list[ProcessPoolExecutor] = []

    def submit(task: Task) -> Future[TaskResult]:
        try:
            return pools[-1].submit(_in_child, how, task)
        except (IndexError, BrokenExecutor):  # a worker that dies takes its pool with it
            pools.append(ProcessPoolExecutor(workers, context, _Child.begin, (masks,)))
            return pools[-1].submit(_in_child, how, task)

    def tick() -> None:
        with masks.get_lock():
            made, masks.value = masks.value, 0
        if made:
            on_progress(made)

    try:
        yield from _finished(tasks, submit, at_once=workers, tick=tick)
    finally:
        for pool in pools:
            pool.shutdown(cancel_futures=True)


def _by_cluster(
    tasks: Sequence[Task], settings: StudySettings, *, address: str, jobs: int
) -> _Done:
    with ray_cluster(address, jobs=jobs) as ray:
        threads = settings.config().threads or 1
        how = pickle.dumps(replace(settings, changes={**settings.changes, "threads": threads}))
        workers = jobs or int(ray.cluster_resources().get("CPU", 1)) // threads
        remote = ray.remote(num_cpus=threads, max_retries=0)(_on_worker)
        yield from _finished(
            tasks, lambda task: remote.remote(how, task).future(), at_once=max(1, workers)
        )


def _finished(
    tasks: Sequence[Task],
    submit: Callable[[Task], Future[TaskResult]],
    *,
    at_once: int,
    tick: Callable[[], None] = lambda: None,
) -> _Done:
    """Yield each task with its result as it is done; hands out no more after Ctrl-C in a worker.

    Raises:
        SemlaError: A worker could not open the bundle: no other could.
        KeyboardInterrupt: By the user; what the workers, who got the same signal, still hand over
            is yielded first.
    """
    waiting, running = deque(tasks), dict[Future[TaskResult], Task]()
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                task = waiting.popleft()
                running[submit(task)] = task
            done, _ = wait(running, timeout=_TICK_S, return_when=FIRST_COMPLETED)
            tick()
            for future in done:
                result = _result_of(future)
                if result.interrupted:
                    waiting.clear()
                yield running.pop(future), result
    except KeyboardInterrupt:
        for future in wait(running, timeout=_GRACE_S).done:
            yield running[future], _result_of(future)
        raise


def _result_of(future: Future[TaskResult]) -> TaskResult:
    """Return what came of it; the error of a task whose worker died."""
    error = future.exception()
    if error is None:
        return future.result()
    cause = getattr(error, "cause", error)  # Ray wraps what a task raised
    if isinstance(cause, SemlaError):
        raise EvaluationError(str(cause)) from error
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    why = lines[-1] if lines else type(error).__name__
    return TaskResult(error=f"its worker failed: {why}")


class _Child:
    """What a process of the pool keeps between tasks."""

    masks: ClassVar[Any] = None

    @classmethod
    def begin(cls, masks: Any) -> None:  # noqa: ANN401  a shared integer
        """Count masks in `masks`; Ctrl-C ends a task, never a process that waits for one."""
        cls.masks = masks
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    @classmethod
    def count(cls, masks: int) -> None:
        """Count masks that were made."""
        with cls.masks.get_lock():
            cls.masks.value += masks


def _in_child(settings: bytes, task: Task) -> TaskResult:
    session = _session(settings)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return carry_out(session, task, progress=_Child.count)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _on_worker(settings: bytes, task: Task) -> TaskResult:
    return carry_out(_session(settings), task)


@lru_cache(maxsize=1)
def _session(settings: bytes) -> Session:
    """Return the session of this worker, opened for its first task."""
    opened: StudySettings = pickle.loads(settings)
    return Session(opened)
