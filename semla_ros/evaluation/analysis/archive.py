"""Batch mode for archives: embed everything first, then one fused model for each group of frames.

A recording that lies on a disk needs no gate: its frames can be sorted by what they show. Each
group is served by the mix that retrieval picks for the group's mean embedding.
Source: SemLA (CVPR 2025), supplement E.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from semla_ros.core.errors import EvaluationError
from semla_ros.core.types import AdapterMix, Float32Array
from semla_ros.data.metrics import Int64Array, mean_iou
from semla_ros.data.tasks import Task
from semla_ros.evaluation.analysis.gaps import kmeans
from semla_ros.evaluation.analysis.mix_sweep import sampled
from semla_ros.evaluation.study.scores import means_over
from semla_ros.evaluation.study.session import Session
from semla_ros.library.retrieval import retrieve
from semla_ros.navigator.distance import DISTANCES

MAX_FRAMES = 20_000


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
    embeddings, domains = _embedded(session, tasks, frames)
    number = len(embeddings)
    mixes: dict[int, list[AdapterMix]] = {}
    for count in sorted({min(g, number) for g in groups}):
        labels = kmeans(embeddings.astype(np.float64), count)
        chosen = [_mix(session, embeddings[labels == c].mean(axis=0)) for c in range(count)]
        mixes[count] = [chosen[c] for c in labels.tolist()]
    alone = [_mix(session, e) for e in embeddings]
    counts = _scored(session, tasks, [*mixes.values(), alone], frames=frames)
    reference = len(alone)
    sizes = [*mixes, reference]
    fusions = [len(set(m)) for m in mixes.values()]
    changes = 1 + sum(a != b for a, b in pairwise(alone))
    return tuple(
        ArchiveScore(size, fused, _h_mean(each, domains, session))
        for size, fused, each in zip(sizes, [*fusions, changes], counts, strict=True)
    )


def _embedded(
    session: Session, tasks: Sequence[Task], frames: int
) -> tuple[Float32Array, list[str]]:
    if session.encoder is None:
        raise EvaluationError("expected a bundle with a navigator, got one without")
    embeddings, domains = [], []
    for task in tasks:
        for frame, _, domain in sampled(session, task, frames):
            embeddings.append(session.encoder.encode(frame.rgb))
            session.forget()
            domains.append(domain)
    if not embeddings or len(embeddings) > MAX_FRAMES:
        raise EvaluationError(
            f"expected 1 to {MAX_FRAMES} frames with truth, got {len(embeddings)}: change --frames"
        )
    return np.stack(embeddings), domains


def _mix(session: Session, embedding: Float32Array) -> AdapterMix:
    distances = DISTANCES[session.live.distance](embedding.astype(np.float32), session.bank)
    return retrieve(session.names, distances, settings=session.live.retrieval)


def _scored(
    session: Session,
    tasks: Sequence[Task],
    plans: Sequence[Sequence[AdapterMix]],
    *,
    frames: int,
) -> list[Int64Array]:
    """Return (F, 3, T) counts of each plan; equal mixes on one frame share a mask."""
    rows: list[list[Int64Array]] = [[] for _ in plans]
    place = 0
    for task in tasks:
        for frame, truth, _ in sampled(session, task, frames):
            made: dict[AdapterMix, Int64Array] = {}
            for row, plan in zip(rows, plans, strict=True):
                mix = plan[place]
                if mix not in made:
                    made[mix] = session.counts(frame, mix, truth)
                row.append(made[mix])
            place += 1
    return [np.stack(row) for row in rows]


def _h_mean(counts: Int64Array, domains: Sequence[str], session: Session) -> float:
    names = np.array(domains, dtype=np.str_)
    scores = {
        str(d): 100 * float(mean_iou(counts[names == d].sum(axis=0))) for d in np.unique(names)
    }
    return means_over(scores, session.settings.excluded)["h_mean"]
