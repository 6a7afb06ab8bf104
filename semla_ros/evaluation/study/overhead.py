"""What an evaluation costs beyond the bare network, both measured in one run."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from itertools import islice

from semla_ros.core.errors import EvaluationError
from semla_ros.core.timing import now_ms
from semla_ros.data.inputs import unheard
from semla_ros.data.tasks import Task
from semla_ros.evaluation.study.evaluate import evaluate
from semla_ros.evaluation.study.session import Session
from semla_ros.evaluation.study.tasks import source_of

ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Overhead:
    """One measurement.

    Attributes:
        frames: How many frames, evaluated with every strategy.
        masks: Inferences of the evaluation.
        bare_ms: As many inferences and embeddings alone, images at hand; median of the rounds.
        study_ms: The evaluation: reading, truth, decisions, scores; its fusions are left out, as
            the network alone does not fuse. Median of the rounds.
        share: What the evaluation takes beyond, as a share of the bare network.
    """

    frames: int
    masks: int
    bare_ms: float
    study_ms: float
    share: float


def measure_overhead(
    session: Session, task: Task, *, frames: int = 40, rounds: int = ROUNDS
) -> Overhead:
    """Return what evaluating the first `frames` frames of `task` takes beyond the network.

    Bare network and evaluation take turns, so that a machine that slows down slows both.

    Raises:
        SemlaError: The input cannot be read, or holds no frame.
    """
    bare: list[float] = []
    study: list[float] = []
    count = masks = 0
    for _ in range(rounds):
        done = evaluate(session, replace(source_of(session, task), most=frames))
        stages, masks = done.stages_ms, done.masks
        study.append(stages["total"] - stages.get("fuse", 0.0))
        count = done.result.frames
        bare.append(_bare(session, task, frames, masks=masks))
    if not count:
        raise EvaluationError(f"expected frames in {str(task.path)!r}, got none that can be used")
    bare_ms, study_ms = statistics.median(bare), statistics.median(study)
    return Overhead(count, masks, bare_ms, study_ms, study_ms / bare_ms - 1.0)


def _bare(session: Session, task: Task, frames: int, *, masks: int) -> float:
    """Return the time of `masks` inferences and one embedding of each frame, in ms."""
    first = islice(source_of(session, task).frames.read(on_note=unheard), frames)
    images = [each.frame.rgb for each in first if each.frame is not None]
    if not images:
        return 0.0
    started = now_ms()
    for number in range(masks):
        session.segment(images[number % len(images)])
    if session.encoder is not None:
        for rgb in images:
            session.encoder.encode(rgb)
    spent = now_ms() - started
    session.forget()
    return spent
