"""The recordings of a study as tasks that any process can carry out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from semla_ros.core.errors import SemlaError
from semla_ros.data.sequence_source import SequenceSource
from semla_ros.data.tasks import Task, sequence_of
from semla_ros.evaluation.study.evaluate import INTERRUPTED, Progress, evaluate
from semla_ros.evaluation.study.session import Session
from semla_ros.evaluation.study.study import Study


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
    return sequence_of(task, session.settings.reading, session.classes)
