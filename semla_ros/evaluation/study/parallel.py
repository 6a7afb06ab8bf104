"""Tasks carried out by this process, or by several of this machine.

Every worker opens the bundle once and returns the files of its shards, so the bytes are those of a
run in one process. A task that fails, or takes its worker down, is tried once more.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeAlias

from semla_ros.errors import EvaluationError, SemlaError
from semla_ros.evaluation.study.session import Session, StudySettings
from semla_ros.evaluation.study.tasks import ShardFiles, Task, carry_out

_LOG = logging.getLogger(__name__)
_ATTEMPTS = 2
_GRACE_S = 60.0

_Pipe: TypeAlias = "Connection[Any, Any]"
OnDone = Callable[[Task, ShardFiles], None]
OnProgress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Job:
    """A task, and how often it was tried, this time included."""

    task: Task
    attempt: int = 1


def threads_each(settings: StudySettings, workers: int) -> StudySettings:
    """Return `settings` with this machine's cores shared among `workers`, unless it says."""
    if settings.config().threads:
        return settings
    threads = max(1, (os.cpu_count() or 1) // workers)
    return replace(settings, changes={**settings.changes, "threads": threads})


def run_here(
    tasks: Sequence[Task], settings: StudySettings, *, on_done: OnDone, on_progress: OnProgress
) -> None:
    """Carry out `tasks` one by one in this process; Ctrl-C ends it after what is at hand.

    Raises:
        SemlaError: The bundle cannot be used.
    """
    session = Session(settings)
    try:
        jobs = deque(Job(task) for task in tasks)
        while jobs:
            job = jobs.popleft()
            shard = carry_out(session, job.task, progress=on_progress)
            if again(job, shard):
                jobs.append(replace(job, attempt=job.attempt + 1))
                continue
            on_done(job.task, shard)
            if shard.interrupted:
                return
    finally:
        session.close()


def run_processes(
    tasks: Sequence[Task],
    settings: StudySettings,
    *,
    jobs: int,
    on_done: OnDone,
    on_progress: OnProgress,
) -> None:
    """Carry out `tasks` by `jobs` processes.

    Raises:
        SemlaError: The bundle cannot be used.
        KeyboardInterrupt: By the user, after what the processes had so far was handed over.
    """
    workers = min(jobs, len(tasks))
    pool = _Pool(threads_each(settings, workers), workers)
    try:
        pool.run(deque(Job(t) for t in tasks), on_done=on_done, on_progress=on_progress)
    except KeyboardInterrupt:
        pool.collect(on_done)
        raise
    finally:
        pool.close()


class _Pool:
    """Child processes, each with a pipe and at most one job."""

    def __init__(self, settings: StudySettings, workers: int) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._settings = settings
        self._children: dict[_Pipe, BaseProcess] = {}
        self._busy: dict[_Pipe, Job] = {}
        for _ in range(workers):
            self._start()

    def run(self, jobs: deque[Job], *, on_done: OnDone, on_progress: OnProgress) -> None:
        """Hand out `jobs` until all are done; stops handing out after Ctrl-C in a child."""
        stopped = False
        while (jobs and not stopped) or self._busy:
            for connection in [c for c in self._children if c not in self._busy]:
                if jobs and not stopped:
                    self._hand_out(connection, jobs.popleft())
            for connection in self._ready(None):
                answer = self._receive(connection)
                if isinstance(answer, int):
                    on_progress(answer)
                    continue
                job = self._busy.pop(connection)
                if again(job, answer):
                    jobs.append(replace(job, attempt=job.attempt + 1))
                else:
                    on_done(job.task, answer)
                    stopped = stopped or answer.interrupted

    def collect(self, on_done: OnDone) -> None:
        """Take what the children, who got the same Ctrl-C, still hand over."""
        while self._busy and (ready := self._ready(_GRACE_S)):
            for connection in ready:
                answer = self._receive(connection)
                if not isinstance(answer, int):
                    on_done(self._busy.pop(connection).task, answer)

    def close(self) -> None:
        """End the children."""
        for connection, child in self._children.items():
            connection.close()
            child.terminate()
            child.join()

    def _hand_out(self, connection: _Pipe, job: Job) -> None:
        self._busy[connection] = job
        # A child that is dead already is noticed when its answer is received.
        with contextlib.suppress(OSError):
            connection.send(job.task)

    def _ready(self, timeout_s: float | None) -> list[_Pipe]:
        ready = set(wait(list(self._busy), timeout_s))
        return [c for c in self._busy if c in ready]

    def _start(self) -> None:
        mine, theirs = self._context.Pipe()
        child = self._context.Process(target=_serve, args=(theirs, self._settings), daemon=True)
        child.start()
        theirs.close()
        self._children[mine] = child

    def _receive(self, connection: _Pipe) -> int | ShardFiles:
        """Return masks made, or a shard; a child that died is replaced and its job has failed.

        Raises:
            EvaluationError: The child could not open the bundle: no other could.
        """
        try:
            answer = connection.recv()
        except (EOFError, OSError):
            child = self._children.pop(connection)
            child.join()
            task = self._busy[connection].task
            self._start()
            return ShardFiles(task.name, {}, f"its process ended with code {child.exitcode}")
        if isinstance(answer, str):
            raise EvaluationError(answer)
        return answer if isinstance(answer, int | ShardFiles) else 0


def _serve(connection: _Pipe, settings: StudySettings) -> None:
    """Carry out the tasks that come through the pipe: the life of a child."""
    session = None
    try:
        while True:
            task = connection.recv()
            try:
                session = session or Session(settings)
            except SemlaError as error:
                connection.send(str(error))
                return
            connection.send(carry_out(session, task, progress=connection.send))
    except (EOFError, OSError, KeyboardInterrupt):
        return


def again(job: Job, shard: ShardFiles) -> bool:
    """Return whether the job is to be tried once more."""
    failed = bool(shard.error) and not shard.interrupted
    if failed and job.attempt < _ATTEMPTS:
        _LOG.warning("%s failed and is tried again: %s", job.task.name, shard.error)
        return True
    return False
