"""The folder of one run: its frames, its checkpoint, and what both belong to.

It lies hidden beside the domains of the library and goes when the adapter is in its place.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semla_ros.core.errors import TrainingError
from semla_ros.core.files.folder_walk import files_below
from semla_ros.core.files.structured_text import from_json
from semla_ros.core.files.whole_file import write_file
from semla_ros.data.tasks import ReadSettings, Task

CHECKPOINT, RUN = "checkpoint.safetensors", "run.json"
_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Workplace:
    """A run's folder.

    Attributes:
        root: Its path.
        fresh: What an interrupted run left goes.
        dry: For a plan alone: nothing goes, and no run begins.
    """

    root: Path
    fresh: bool = False
    dry: bool = False

    @property
    def checkpoint(self) -> Path:
        """The last checkpoint."""
        return self.root / CHECKPOINT

    def frames(self, key: str) -> Path:
        """Return the folder of the frames known by `key`."""
        return self.root / f"frames-{key}"

    def make_room(self, key: str) -> None:
        """Remove the frames of other keys than `key`, of a fresh run all of them."""
        for found in self.root.glob("frames-*"):
            if not self.dry and (self.fresh or found != self.frames(key)):
                shutil.rmtree(found, ignore_errors=True)

    def claim(self, facts: Mapping[str, Any]) -> bool:
        """Return whether a checkpoint of a run with the same `facts` is there to go on from.

        Args:
            facts: What decides the outcome, by topic.

        Raises:
            TrainingError: There is one of a run that differs; the topics are named.
        """
        path = self.root / RUN
        if self.fresh or not self.checkpoint.is_file():
            if not self.dry:
                self.checkpoint.unlink(missing_ok=True)
                text = json.dumps(facts, indent=1, sort_keys=True)
                write_file(path, text.encode(), error=TrainingError)
            return False
        try:
            before = from_json(path.read_bytes())
            differing = [k for k, v in _plain(facts).items() if before.get(k) != v]
        except (OSError, ValueError, AttributeError):
            differing = ["everything (unreadable)"]
        if differing:
            raise TrainingError(
                f"expected to go on with the run in {str(self.root)!r}, got another "
                f"{' and another '.join(differing)}: give what it was started with, or --fresh"
            )
        return True

    def remove(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.root, ignore_errors=True)


def data_key(tasks: Iterable[Task], settings: ReadSettings, *more: object) -> str:
    """Return what changes with any file of the data and with how they are read.

    Files count by path, size and time of change.

    Raises:
        SemlaError: An input is not there.
    """
    content: list[object] = [repr(settings), [str(item) for item in more]]
    for task in tasks:
        files = list(task.open_input(settings).files)
        if task.label_folder is not None:
            files += sorted(p for p in files_below(task.label_folder) if p.suffix == ".png")
        if task.domains is not None:
            files.append(task.domains)
        content.append([task.name, task.domain, task.labels, [_stamp(path) for path in files]])
    return digest(content)


def digest(content: object) -> str:
    """Return 16 hex digits over plain values."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(facts))
    return plain


def _stamp(path: Path) -> list[object]:
    try:
        status = path.stat()
    except OSError as error:
        raise TrainingError(f"{str(path)!r} cannot be read: {error.strerror}") from error
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]
