"""The recordings of a study as tasks that any process can carry out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import Any

from semla_ros.core.errors import EvaluationError, SemlaError
from semla_ros.data.inputs import BagInput, Input, InputOptions, open_input
from semla_ros.data.labels.domains import DomainTable, read_domains
from semla_ros.data.labels.source import FolderTruth, TopicTruth, TruthSource
from semla_ros.data.sequence_source import SequenceSource
from semla_ros.evaluation.study.evaluate import INTERRUPTED, Progress, evaluate
from semla_ros.evaluation.study.session import Session, StudySettings
from semla_ros.evaluation.study.study import Study


@dataclass(frozen=True, slots=True)
class Task:
    """One recording to evaluate, as plain data.

    Attributes:
        path: The input.
        name: Short and unique within the study.
        domain: Of its frames, where `domains` does not say; "" if unknown.
        labels: Folder of label images, or label topic; "" without truth.
        domains: CSV table of domains; None without one.
    """

    path: Path
    name: str
    domain: str
    labels: str = ""
    domains: Path | None = None

    @property
    def label_folder(self) -> Path | None:
        """The folder of labels, None where they are a topic or there are none."""
        return Path(self.labels) if self.labels and Path(self.labels).is_dir() else None

    def open_input(self, settings: StudySettings) -> Input:
        """Return the frames.

        Raises:
            SemlaError: There are none.
        """
        topic = "" if self.label_folder is not None else self.labels
        options = InputOptions(
            topic=settings.topic,
            fps=settings.fps,
            max_pixels=settings.config().max_pixels,
            significant_bits=settings.config().significant_bits,
            except_topic=topic,
        )
        return open_input(self.path, options)


@dataclass(frozen=True, slots=True, eq=False)
class TaskResult:
    """What a carried out task leaves, or why there is nothing.

    Attributes:
        study: Of the one recording; None if it failed.
        timings: Frames, masks and where the time went.
        error: Why it failed.
        interrupted: The user stopped it; what is there is kept.
    """

    study: Study | None = None
    timings: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    interrupted: bool = False


def carry_out(session: Session, task: Task, *, progress: Progress = lambda _: None) -> TaskResult:
    """Return what comes of `task`; a SemlaError becomes the result's error."""
    try:
        done = evaluate(session, source_of(session, task), progress=progress)
    except SemlaError as error:
        return TaskResult(error=str(error))
    except KeyboardInterrupt:
        return TaskResult(error=INTERRUPTED, interrupted=True)
    stages = {stage: round(ms, 3) for stage, ms in sorted(done.stages_ms.items())}
    timings = {
        "frames": done.result.frames,
        "masks": done.masks,
        "stages_ms": stages,
        "overhead": overhead(stages),
    }
    interrupted = done.result.ended_early == INTERRUPTED
    return TaskResult(Study(session.info(), (done.result,)), timings, interrupted=interrupted)


def overhead(stages_ms: dict[str, float]) -> float | None:
    """Return the share of time on top of inference, embedding and fusion; None without any."""
    model = sum(stages_ms.get(stage, 0.0) for stage in ("infer", "embed", "fuse"))
    return round(stages_ms.get("total", 0.0) / model - 1.0, 4) if model else None


def source_of(session: Session, task: Task) -> SequenceSource:
    """Return the frames, truth and domains of a task.

    Raises:
        SemlaError: The input or its truth cannot be read.
    """
    settings = session.settings
    domains = DomainTable(task.domain)
    if task.domains is not None:
        domains = read_domains(task.domains, recording=task.name, default=task.domain)
    frames = task.open_input(settings)
    return SequenceSource(
        str(task.path), task.name, frames, _truth(session, task, frames), domains
    )


def _truth(session: Session, task: Task, frames: Input) -> TruthSource | None:
    settings, folder = session.settings, task.label_folder
    if not task.labels:
        return None
    bounds = {"max_pixels": session.config.max_pixels, "tolerance_ns": settings.tolerance_ns}
    if folder is not None:
        return FolderTruth(folder, settings.label_map, session.classes, **bounds)
    if not isinstance(frames, BagInput):
        raise EvaluationError(
            f"expected a folder of labels for {str(task.path)!r}, got {task.labels!r}: not there "
            "(topics are for recordings)"
        )
    label_map, classes = settings.label_map, session.classes
    return TopicTruth(task.path, task.labels, label_map, classes=classes, **bounds)


def tasks_of(
    inputs: Sequence[str],
    *,
    labels: Sequence[str] = (),
    domains: Path | None = None,
) -> tuple[Task, ...]:
    """Return one task for each input.

    Args:
        inputs: `PATH`, or `NAME=PATH`: recordings of one name are one domain. By default the
            name is the path's last part.
        labels: `DIR` or `TOPIC` for all, or `NAME=DIR|TOPIC` for the inputs of that name.
        domains: CSV table of domains for all.

    Raises:
        EvaluationError: No input, or labels for an input that there is not.
    """
    if not inputs:
        raise EvaluationError("expected at least one input, got none")
    named = [(name, Path(path)) for name, path in map(_named, inputs)]
    by_name = {name: value for name, value in map(_named, labels) if name}
    common = [value for name, value in map(_named, labels) if not name]
    unknown = sorted(by_name.keys() - {name or _stem(path) for name, path in named})
    if unknown or len(common) > 1:
        raise EvaluationError(
            f"expected --labels once, or as NAME=… for inputs that there are, got {list(labels)!r}"
        )
    tasks: list[Task] = []
    for name, path in named:
        domain = name or _stem(path)
        found = by_name.get(domain, common[0] if common else "")
        taken = {t.name for t in tasks}
        names = chain([domain], (f"{domain}-{number}" for number in count(2)))
        unique = next(n for n in names if n not in taken)
        tasks.append(Task(path, unique, domain, found, domains))
    return tuple(tasks)


def _named(text: str) -> tuple[str, str]:
    """Return name and value of `NAME=VALUE`; "" and `text` where there is none, or it exists."""
    name, equals, value = text.partition("=")
    return (name, value) if equals and name and not Path(text).exists() else ("", text)


def _stem(path: Path) -> str:
    name = path.resolve().name
    return path.stem if path.is_file() else name
