"""Finished recordings on disk, taken up when a study is repeated or continued.

A shard is the study of one recording. Its folder is named by a key over everything that decides
its content: files, settings, bundle, versions.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from semla_ros.core.errors import EvaluationError
from semla_ros.core.files.structured_text import from_json
from semla_ros.data.tasks import Task
from semla_ros.evaluation.files import write_file
from semla_ros.evaluation.run import versions
from semla_ros.evaluation.study.session import StudySettings
from semla_ros.evaluation.study.store import FORMAT, FRAMES, RESULTS, load_study
from semla_ros.evaluation.study.study import Study
from semla_ros.evaluation.study.tasks import TIMINGS, TaskResult

SHARDS = "shards"
_KEY_CHARACTERS = 12


def shard_key(task: Task, settings: StudySettings, bundle_sha256: str) -> str:
    """Return what changes with anything that decides the shard of `task`.

    Files count by size and time of change, not by content: a recording may be huge.

    Raises:
        SemlaError: The input is not there.
    """
    files = list(task.open_input(settings.reading).files)
    if task.label_folder is not None:
        files += sorted(task.label_folder.rglob("*.png"))
    if task.domains is not None:
        files.append(task.domains)
    labels = repr(settings.label_map) if task.labels else ""
    plain = asdict(settings) | {"bundle": bundle_sha256, "excluded": (), "label_map": labels}
    content = [
        FORMAT,
        [_stamp(path) for path in files],
        [task.name, task.domain, task.labels],
        plain,
        versions(),
    ]
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_KEY_CHARACTERS]


def _stamp(path: Path) -> list[object]:
    try:
        status = path.stat()
    except OSError as error:
        raise EvaluationError(f"{str(path)!r} cannot be read: {error.strerror}") from error
    return [str(path), status.st_size, status.st_mtime_ns]


def shard_folder(out: Path, name: str, key: str) -> Path:
    """Return where the shard of this name and key lies."""
    return out / SHARDS / f"{name.replace('/', '_')}-{key}"


def write_shard(folder: Path, shard: TaskResult) -> None:
    """Write the files of a shard, results.json last: a folder that has it is whole.

    Raises:
        EvaluationError: The disk is full, or the folder cannot be written.
    """
    last = (TIMINGS, FRAMES, RESULTS)
    for name in sorted(shard.files, key=last.index):
        write_file(folder / name, shard.files[name])


def load_whole_shard(folder: Path) -> Study | None:
    """Return the study of a shard that was evaluated to its end, None if there is none."""
    try:
        study = load_study(folder)
    except EvaluationError:
        return None
    return study if study.complete else None


def read_timings(folder: Path) -> dict[str, object]:
    """Return the timings of a shard; empty where there are none."""
    try:
        data = from_json((folder / TIMINGS).read_bytes())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
