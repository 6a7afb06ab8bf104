"""`semla train library`: the adapters of several domains, side by side.

    label_map: acdc
    domains:
      fog: {data: [fog/images], labels: fog/labels}
      night: {data: [night.mcap], labels: /truth, recipe: muses}

Each domain is a run of its own in a process of its own; one that fails is named, the rest go on.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import as_completed
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from semla_ros.bundle import ModelBundle
from semla_ros.core.cluster import ray_cluster
from semla_ros.core.errors import SemlaError, TrainingError
from semla_ros.core.files.structured_text import from_yaml
from semla_ros.data.labels.label_map import read_label_map
from semla_ros.data.tasks import ReadSettings, tasks_of
from semla_ros.prepare.training.adapter import AdapterRequest, train_adapter
from semla_ros.prepare.training.ground import DataRequest
from semla_ros.prepare.training.hardware import given_threads
from semla_ros.prepare.training.run import How, Say

MAX_FILE_BYTES = 1_000_000
_GRACE_S = 10.0
"""How long a process that is told to end may take to put its files in order."""
_FIELDS = {"data", "labels", "label_map", "held_out", "domains", "recipe", "licence"}


@dataclass(frozen=True, slots=True)
class LibraryOutcome:
    """What became of each domain.

    Attributes:
        lines: Domain -> what its run said last.
        failed: Domain -> why it is missing.
    """

    lines: Mapping[str, tuple[str, ...]]
    failed: Mapping[str, str]


def read_domains_file(
    path: Path, bundle: ModelBundle, how: Callable[[str], How], *, replaces: bool
) -> tuple[AdapterRequest, ...]:
    """Return one request for each domain of a YAML file; its paths are relative to the file.

    Args:
        path: The file.
        bundle: The base.
        how: Gives what the command line asks for, with the recipe that a domain names, or "".
        replaces: Put adapters in the place of those of their name.

    Raises:
        TrainingError: Not such a file; the domain is named.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise TrainingError(f"{path.name!r} is over {MAX_FILE_BYTES} bytes: no domains")
        data = from_yaml(path.read_bytes())
    except (OSError, ValueError) as error:
        raise TrainingError(f"cannot read domains from {str(path)!r}: {error}") from error
    domains = data.get("domains") if isinstance(data, dict) else None
    if not isinstance(domains, dict) or not domains:
        raise TrainingError(f"{path.name!r}: expected `domains:` with a name for each, got none")
    common = {k: v for k, v in data.items() if k != "domains"}
    requests = []
    for name, own in domains.items():
        where = f"{path.name!r}, domain {name!r}"
        if not isinstance(own, dict) or not own.get("data"):
            raise TrainingError(f"{where}: expected `data:` with a list of inputs, got {own!r}")
        fields = {**common, **own}
        if unknown := sorted({*map(str, fields)} - _FIELDS):
            raise TrainingError(
                f"{where}: expected fields of {sorted(_FIELDS)!r}, got {unknown!r}"
            )
        requests.append(
            AdapterRequest(
                bundle.root,
                str(name),
                _data_of(fields, path.parent, str(name)),
                how(_file(str(fields.get("recipe") or ""), path.parent)),
                replaces,
                str(fields.get("licence", "")),
            )
        )
    return tuple(requests)


def train_library(
    requests: Sequence[AdapterRequest], *, jobs: int, ray: str, say: Say
) -> LibraryOutcome:
    """Train every domain and return what became of them.

    Args:
        requests: One for each.
        jobs: Processes side by side, sharing the CPU's cores; of a cluster at most (0: any).
        ray: `auto`, an address, or `local`: carry out on a Ray cluster; "" for none.
        say: Told when a domain is done.

    Raises:
        EngineUnavailableError: Ray is not installed, or there is no such cluster.
        KeyboardInterrupt: By the user; what is done stays, the rest goes on by the same command.
    """
    lines: dict[str, tuple[str, ...]] = {}
    failed: dict[str, str] = {}
    run = _by_cluster(requests, address=ray, jobs=jobs) if ray else _by_processes(requests, jobs)
    with closing(run):
        for name, told, problem in run:
            if problem:
                failed[name] = problem
                say(f"{name}: failed: {problem}")
            else:
                lines[name] = told
                for line in _verdict(name, told):
                    say(line if line.startswith(name) else f"{name}: {line}")
    return LibraryOutcome(lines, failed)


def _verdict(name: str, told: tuple[str, ...]) -> tuple[str, ...]:
    """Return what a run said in the end, from its mIoU on."""
    scores = (i for i, line in enumerate(told) if line.startswith(f"{name}: mIoU"))
    return told[next(scores, len(told)) :]


_Done = tuple[str, tuple[str, ...], str]
_Run = Generator[_Done, None, None]


def _one(request: AdapterRequest) -> _Done:
    """Train one domain in this process; what goes wrong becomes a line."""
    told: list[str] = []
    try:
        train_adapter(request, told.append)
    except (SemlaError, OSError) as error:
        return request.name, tuple(told), str(error) or type(error).__name__
    return request.name, tuple(told), ""


def _by_processes(requests: Sequence[AdapterRequest], jobs: int) -> _Run:
    """Yield each domain as it is done; the processes are stopped when nobody wants more."""
    workers = max(1, min(jobs, len(requests)))
    context = multiprocessing.get_context("spawn")
    waiting = deque(_with_threads(r, max(1, given_threads() // workers)) for r in requests)
    running: dict[Connection, tuple[SpawnProcess, AdapterRequest]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                request = waiting.popleft()
                end, other = context.Pipe(duplex=False)
                process = context.Process(target=_in_own_process, args=(request, other))
                process.start()
                other.close()
                running[end] = process, request
            ready = wait([*running])
            for end in [each for each in running if each in ready]:
                yield _received(end, *running.pop(end))
    finally:
        for process, _ in running.values():
            process.terminate()
        for process, _ in running.values():
            process.join(_GRACE_S)
            process.kill()


def _received(end: Connection, process: SpawnProcess, request: AdapterRequest) -> _Done:
    try:
        done: _Done = end.recv()
    except EOFError:
        process.join()
        done = request.name, (), f"its worker died: exit code {process.exitcode}"
    end.close()
    process.join()
    return done


def _in_own_process(request: AdapterRequest, end: Connection) -> None:
    """Train one domain in this process, made for it: one that dies takes no other along."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the command, which ends this
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        try:
            end.send(_one(request))
        except Exception as error:  # noqa: BLE001  worker boundary: the rest goes on
            end.send(_died(request, error))


def _by_cluster(requests: Sequence[AdapterRequest], *, address: str, jobs: int) -> _Run:
    with ray_cluster(address, jobs=jobs) as ray:
        gpus = 1 if ray.cluster_resources().get("GPU") else 0
        remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(_one)
        running = {remote.remote(_with_threads(r, 1)).future(): r for r in requests}
        for future in as_completed(running):
            error = future.exception()
            yield future.result() if error is None else _died(running[future], error)


def _died(request: AdapterRequest, error: BaseException) -> _Done:
    why = str(error).strip().splitlines()
    return request.name, (), f"its worker died: {why[-1] if why else error!r}"


def _with_threads(request: AdapterRequest, count: int) -> AdapterRequest:
    return replace(request, how=replace(request.how, threads=request.how.threads or count))


def _data_of(fields: Mapping[str, Any], folder: Path, name: str) -> DataRequest:
    def listed(value: object) -> list[str]:
        return [str(v) for v in (value if isinstance(value, list) else [value] if value else [])]

    def there(value: str) -> str:
        return str(folder / value) if (folder / value).exists() else value

    inputs = [there(v) for v in listed(fields["data"])]
    held_out = [there(v) for v in listed(fields.get("held_out"))]
    table = fields.get("domains")
    every = tasks_of(
        [f"{name}={v}" for v in (*inputs, *held_out)],
        labels=[there(v) for v in listed(fields.get("labels"))],
        domains=folder / str(table) if table else None,
    )
    label_map = _file(str(fields.get("label_map", "identity")), folder)
    reading = ReadSettings(label_map=read_label_map(label_map))
    count = len(inputs)
    return DataRequest(every[:count], every[count:], reading, name if table else "")


def _file(value: str, folder: Path) -> str:
    """Return `FILE[:TABLE]` as a file of `folder` if it is one, else as it is: a name."""
    name, *table = value.partition(":")
    return "".join((str(folder / name), *table)) if (folder / name).is_file() else value
