"""Batch mode for archives: embed everything first, then one fused model for each group of frames.

A recording that lies on a disk needs no gate: its frames can be sorted by what they show. Each
group is served by the mix that retrieval picks for the group's mean embedding.
Source: SemLA (CVPR 2025), supplement E.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from semla_ros.core.errors import EvaluationError
from semla_ros.core.types import AdapterMix, Float32Array
from semla_ros.data.tasks import Task
from semla_ros.evaluation.analysis.gaps import kmeans
from semla_ros.evaluation.analysis.mix_sweep import sampled, score_mixes
from semla_ros.evaluation.study.session import Session
from semla_ros.library.retrieval import retrieve
from semla_ros.navigator.distance import DISTANCES

MAX_FRAMES = 20_000
ALONE = 0
"""Key of a mix of its own for every frame."""


@dataclass(frozen=True, slots=True)
class ArchiveScore:
    """One number of groups against a mix of its own for every frame.

    Attributes:
        groups: Number of fused models; the number of frames for the reference.
        fusions: Weights fused to segment the frames once, in the order of the groups.
        h_mean: mIoU in percent over domains.
    """

    groups: int
    fusions: int
    h_mean: float


def archive_scores(
    session: Session, tasks: Sequence[Task], groups: Sequence[int], *, frames: int
) -> tuple[ArchiveScore, ...]:
    """Return the score of every number of groups, last the per-frame reference.

    Args:
        session: With a navigator.
        tasks: With truth.
        groups: Numbers of groups to try.
        frames: Sampled frames of each task.

    Raises:
        EvaluationError: No navigator, no truth, or too many frames.
        MissingExtraError: scikit-learn is missing.
    """
    seen = list(_embeddings(session, tasks, frames))
    number = len(seen)
    if not 1 <= number <= MAX_FRAMES:
        raise EvaluationError(
            f"expected 1 to {MAX_FRAMES} frames with truth, got {number}: change --frames"
        )
    embeddings = np.stack(seen)
    plans: dict[int, list[AdapterMix]] = {}
    for count in sorted({min(g, number) for g in groups}):
        labels = kmeans(embeddings.astype(np.float64), count)
        chosen = [_mix(session, embeddings[labels == c].mean(axis=0)) for c in range(count)]
        plans[count] = [chosen[c] for c in labels.tolist()]
    alone = [_mix(session, e) for e in embeddings]
    rows = iter([{ALONE: alone[i], **{c: p[i] for c, p in plans.items()}} for i in range(number)])
    found = score_mixes(session, tasks, lambda _: next(rows), frames=frames)
    fusions = {c: len(set(plan)) for c, plan in plans.items()}
    fusions[ALONE] = 1 + sum(a != b for a, b in pairwise(alone))
    excluded = session.settings.excluded
    return tuple(
        ArchiveScore(c or number, fused, found.means(c, excluded)[0])
        for c, fused in fusions.items()
    )


def _embeddings(session: Session, tasks: Sequence[Task], frames: int) -> Iterator[Float32Array]:
    for task in tasks:
        for seen in sampled(session, task, frames):
            session.forget()
            yield seen.known_embedding


def _mix(session: Session, embedding: Float32Array) -> AdapterMix:
    distances = DISTANCES[session.live.distance](embedding.astype(np.float32), session.bank)
    return retrieve(session.names, distances, settings=session.live.retrieval)
