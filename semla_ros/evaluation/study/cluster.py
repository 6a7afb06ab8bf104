"""Tasks carried out by the workers of a Ray cluster.

Each worker opens the bundle once and returns the files of its shards, so the bytes are those of a
run in one process.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from semla_ros.errors import EngineUnavailableError, EvaluationError, SemlaError
from semla_ros.evaluation.study.parallel import Job, OnDone, again
from semla_ros.evaluation.study.session import Session, StudySettings
from semla_ros.evaluation.study.tasks import ShardFiles, Task, carry_out

LOCAL = "local"
"""`--ray local`: a cluster of this machine's processes, made for the run."""


def run_ray(
    tasks: Sequence[Task], settings: StudySettings, *, address: str, jobs: int, on_done: OnDone
) -> None:
    """Carry out `tasks` by the workers of a Ray cluster; inputs must be readable on all of them.

    Args:
        tasks: What to do.
        settings: How.
        address: `auto` or the address of a running cluster; `local` starts one here.
        jobs: How many workers at most; 0 takes one for each core of the cluster.
        on_done: Called in this process for every shard.

    Raises:
        EngineUnavailableError: Ray is not installed, or there is no such cluster.
        SemlaError: The bundle cannot be used.
    """
    ray = _ray()
    try:
        ray.init(
            address=None if address == LOCAL else address,
            num_cpus=max(jobs, 1) if address == LOCAL else None,
            include_dashboard=False if address == LOCAL else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise EngineUnavailableError(
            f"no Ray cluster at {address!r}: {error}; start one (`ray start --head`) or use --jobs"
        ) from error
    try:
        cores = int(ray.cluster_resources().get("CPU", 1))
        threads = settings.config().threads or 1
        settings = replace(settings, changes={**settings.changes, "threads": threads})
        workers = max(1, min(jobs or cores // threads, len(tasks)))
        _ray_loop(ray, deque(Job(t) for t in tasks), settings, workers=workers, on_done=on_done)
    finally:
        ray.shutdown()


def _ray_loop(
    ray: Any,  # noqa: ANN401  the module, where it is installed
    jobs: deque[Job],
    settings: StudySettings,
    *,
    workers: int,
    on_done: OnDone,
) -> None:
    threads = settings.config().threads
    actor = ray.remote(num_cpus=threads)(_RayWorker)
    idle = [actor.remote(settings) for _ in range(workers)]
    for why in ray.get([worker.open.remote() for worker in idle]):
        if why:
            raise EvaluationError(why)
    running: dict[Any, tuple[Job, Any]] = {}
    while jobs or running:
        while jobs and idle:
            worker, job = idle.pop(), jobs.popleft()
            running[worker.carry_out.remote(job.task)] = (job, worker)
        done, _ = ray.wait(list(running), num_returns=1)
        job, worker = running.pop(done[0])
        try:
            shard = ray.get(done[0])
            idle.append(worker)
        except ray.exceptions.RayError as error:
            shard = ShardFiles(job.task.name, {}, f"its worker failed: {_first_line(error)}")
            idle.append(actor.remote(settings))
        if again(job, shard):
            jobs.append(replace(job, attempt=job.attempt + 1))
        else:
            on_done(job.task, shard)


class _RayWorker:
    """A bundle opened on a worker of the cluster."""

    def __init__(self, settings: StudySettings) -> None:
        self._settings = settings
        self._session: Session | None = None

    def open(self) -> str:
        """Open the bundle; return why it cannot be used, "" if it can."""
        try:
            self._session = Session(self._settings)
        except SemlaError as error:
            return str(error)
        return ""

    def carry_out(self, task: Task) -> ShardFiles:
        """Return the shard of `task`."""
        self._session = self._session or Session(self._settings)
        return carry_out(self._session, task)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _ray() -> Any:  # noqa: ANN401  an optional module
    try:
        import ray
    except ImportError as error:
        raise EngineUnavailableError(
            "--ray needs Ray: pip install 'semla-ros[cluster]', or use --jobs"
        ) from error
    return ray
