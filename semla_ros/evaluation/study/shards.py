"""Finished recordings on disk, taken up when a study is repeated or continued.

A shard is the study of one recording. Its folder is named by a key over everything that decides
its content: files, settings, bundle, versions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from semla_ros.core.errors import EvaluationError
from semla_ros.data.tasks import Task
from semla_ros.evaluation.files import json_text, read_json, write_file
from semla_ros.evaluation.run import versions
from semla_ros.evaluation.study.session import StudySettings
from semla_ros.evaluation.study.store import FORMAT, MAX_JSON_BYTES, load_study, save_study
from semla_ros.evaluation.study.study import Study

SHARDS, TIMINGS = "shards", "timings.json"
_KEY_CHARACTERS = 12


def shard_folder(out: Path, task: Task, settings: StudySettings, *, bundle_sha256: str) -> Path:
    """Return where the shard of `task` lies; another place for anything that decides it.

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
    content = [
        FORMAT,
        [_stamp(path) for path in files],
        [task.name, task.domain, task.labels],
        asdict(settings) | {"bundle": bundle_sha256, "excluded": (), "label_map": labels},
        versions(),
    ]
    text = json.dumps(content, sort_keys=True, default=str)
    key = hashlib.sha256(text.encode()).hexdigest()[:_KEY_CHARACTERS]
    return out / SHARDS / f"{task.name.replace('/', '_')}-{key}"


def _stamp(path: Path) -> list[object]:
    try:
        status = path.stat()
    except OSError as error:
        raise EvaluationError(f"{str(path)!r} cannot be read: {error.strerror}") from error
    return [str(path), status.st_size, status.st_mtime_ns]


def write_shard(folder: Path, study: Study, timings: Mapping[str, Any]) -> None:
    """Write a shard, results.json last: a folder that has it is whole.

    Raises:
        EvaluationError: The disk is full, or the folder cannot be written.
    """
    write_file(folder / TIMINGS, json_text(timings))
    save_study(study, folder)


def is_finished(folder: Path) -> bool:
    """Return whether a recording that was evaluated to its end lies there."""
    try:
        return load_study(folder).complete
    except EvaluationError:
        return False


def read_timings(folder: Path) -> dict[str, object]:
    """Return the timings of a shard; empty where there are none."""
    try:
        data = read_json(folder / TIMINGS, what="timings", max_bytes=MAX_JSON_BYTES)
    except EvaluationError:
        return {}
    return data if isinstance(data, dict) else {}
