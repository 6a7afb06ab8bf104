"""What the library lacks: frames of low support, in groups of like frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from semla_ros.core.answers import uncovered
from semla_ros.core.types import Float32Array, Float64Array
from semla_ros.data.metrics import Int64Array
from semla_ros.evaluation.extra import evaluate_extra
from semla_ros.evaluation.study.study import BoolArray, SequenceResult, Study

MAX_CLUSTERS = 6
SEPARATE = 0.25
"""Mean silhouette below which frames count as one group."""
SAMPLE = 2000
EXEMPLARS = 6


@dataclass(frozen=True, slots=True)
class GapFrame:
    """One frame of low support.

    Attributes:
        recording: Name of its recording.
        row: Its row in the recording's result.
        index: Its place in the recording's stream.
        stamp_ns: Its stamp.
        support: The score.
        level: Its level.
        domain: Its domain, the recording's name where unknown.
    """

    recording: str
    row: int
    index: int
    stamp_ns: int
    support: float
    level: str
    domain: str


@dataclass(frozen=True, slots=True)
class Uncovered:
    """A frame of low support with what groups it.

    Attributes:
        frame: The frame.
        embedding: (D,) of the frame alone.
        distances: (K,) to the adapters, NaN where unknown.
    """

    frame: GapFrame
    embedding: Float32Array
    distances: Float64Array


@dataclass(frozen=True, slots=True)
class Gap:
    """A group of like frames that the library hardly covers.

    Attributes:
        number: From 1, the largest first.
        frames: In the order of the recordings.
        exemplars: Those nearest to the middle of the group.
        share: Of all frames of the study.
        out_of_library: Share of its frames at that level.
        nearest: The adapter whose centroid is nearest on average.
        domains: The domains of its frames, most frequent first.
    """

    number: int
    frames: tuple[GapFrame, ...]
    exemplars: tuple[GapFrame, ...]
    share: float
    out_of_library: float
    nearest: str
    domains: tuple[str, ...]


def library_gaps(study: Study, *, seed: int = 0) -> tuple[Gap, ...]:
    """Return the groups of frames whose support is LOW or OUT_OF_LIBRARY, the largest first.

    Levels are those of the gated stream, LOW only where the frame alone is low too; where the
    gate did not run, the frame alone is held against the study's thresholds. K-means on the
    embeddings gives as many groups as are clearly apart.

    Raises:
        MissingExtraError: scikit-learn is missing.
    """
    found = uncovered_frames(study)
    return grouped(found, study.info.adapters, total=study.frames, seed=seed)


def uncovered_frames(study: Study) -> tuple[Uncovered, ...]:
    """Return the frames of a study whose support is LOW or OUT_OF_LIBRARY, see `library_gaps`."""
    return tuple(
        Uncovered(frame, recording.embeddings[frame.row], recording.distances[frame.row])
        for recording in study.recordings
        for frame in _low_frames(recording, study)
    )


def grouped(
    found: Sequence[Uncovered], adapters: Sequence[str], *, total: int, seed: int = 0
) -> tuple[Gap, ...]:
    """Return groups of like frames, the largest first.

    Args:
        found: The frames.
        adapters: Whose distances they hold.
        total: How many frames there were, covered ones included.
        seed: Of k-means.

    Raises:
        MissingExtraError: scikit-learn is missing.
    """
    if not found:
        return ()
    embeddings = np.stack([each.embedding for each in found]).astype(np.float64)
    distances = np.stack([each.distances for each in found])
    labels = clusters(embeddings, seed=seed)
    groups = sorted(np.unique(labels), key=lambda c: (-int((labels == c).sum()), int(c)))
    frames = [each.frame for each in found]
    gaps = []
    for number, cluster in enumerate(groups, start=1):
        inside = labels == cluster
        nearest = _nearest(distances[inside], adapters)
        gaps.append(_gap(number, inside, frames, embeddings, nearest=nearest, total=total))
    return tuple(gaps)


def clusters(points: Float64Array, *, most: int = MAX_CLUSTERS, seed: int = 0) -> Int64Array:
    """Return the group of each point, (P,) int64; all 0 where no grouping is clear.

    Raises:
        MissingExtraError: scikit-learn is missing.
    """
    alone: Int64Array = np.zeros(len(points), np.int64)
    if len(np.unique(points, axis=0)) < 4:
        return alone
    sample = np.linspace(0, len(points) - 1, min(len(points), SAMPLE)).round().astype(int)
    score = evaluate_extra("sklearn.metrics").silhouette_score
    best, chosen = SEPARATE, alone
    for count in range(2, min(most, len(points) // 3) + 1):
        labels = kmeans(points, count, seed=seed)
        if len(np.unique(labels[sample])) < 2:
            continue
        value = float(score(points[sample], labels[sample]))
        if value > best + 0.02:
            best, chosen = value, labels
    return chosen


def kmeans(points: Float64Array, count: int, *, seed: int = 0) -> Int64Array:
    """Return the group of each point, (P,) int64, of `count` groups.

    Raises:
        MissingExtraError: scikit-learn is missing.
    """
    model = evaluate_extra("sklearn.cluster").KMeans(count, n_init=4, random_state=seed)
    labels: Int64Array = np.asarray(model.fit_predict(points), np.int64)
    return labels


def _low_frames(recording: SequenceResult, study: Study) -> list[GapFrame]:
    if not recording.embeddings.shape[1]:
        return []
    low = _is_low(recording, study)
    indices = recording.indices
    return [
        GapFrame(
            recording=recording.name,
            row=int(row),
            index=indices[row],
            stamp_ns=int(recording.stamps_ns[row]),
            support=float(recording.support[row]),
            level=recording.levels[row] or "LOW",
            domain=str(recording.places[row]),
        )
        for row in np.flatnonzero(low)
    ]


def _is_low(recording: SequenceResult, study: Study) -> BoolArray:
    """Return where the library is thin: a mix that merely lags behind is no gap of the library."""
    levels = np.array(recording.levels, dtype=np.str_)
    info = study.info
    alone = recording.support < info.support_low
    novel = recording.novelty > info.out_of_library if info.out_of_library > 0 else alone
    scores = zip(recording.levels, recording.support.tolist(), strict=True)
    low = np.array([uncovered(lvl, score, low=info.support_low) for lvl, score in scores], bool)
    unseen = (levels == "") & ~np.isfinite(recording.smoothed).any() & (alone | novel)
    found: BoolArray = np.asarray(low | unseen, np.bool_)
    return found


def _gap(
    number: int,
    inside: BoolArray,
    frames: Sequence[GapFrame],
    embeddings: Float64Array,
    *,
    nearest: str,
    total: int,
) -> Gap:
    places = np.flatnonzero(inside)
    middle = embeddings[places].mean(axis=0)
    order = places[np.argsort(np.linalg.norm(embeddings[places] - middle, axis=1), kind="stable")]
    chosen = [frames[i] for i in places.tolist()]
    domains, counts = np.unique([f.domain for f in chosen], return_counts=True)
    return Gap(
        number=number,
        frames=tuple(chosen),
        exemplars=tuple(frames[i] for i in order[:EXEMPLARS].tolist()),
        share=len(chosen) / max(total, 1),
        out_of_library=math.fsum(f.level == "OUT_OF_LIBRARY" for f in chosen) / len(chosen),
        nearest=nearest,
        domains=tuple(str(d) for d in domains[np.argsort(-counts, kind="stable")]),
    )


def _nearest(distances: Float64Array, adapters: Sequence[str]) -> str:
    """Return the adapter that is nearest on average, empty where no distance is known."""
    mean = distances.mean(axis=0)
    known = bool(mean.size) and not np.isnan(mean).all()
    return adapters[int(np.nanargmin(mean))] if known else ""
