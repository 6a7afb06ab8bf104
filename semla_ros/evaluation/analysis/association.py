"""How closely a signal follows the frame's mIoU (SemLA's Figure 9 in numbers)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from semla_ros.evaluation.analysis.frames import QUALITY, FrameTable
from semla_ros.evaluation.extra import evaluate_extra
from semla_ros.types import Float64Array

MIN_FRAMES = 3


@dataclass(frozen=True, slots=True)
class Association:
    """Correlation of one signal with frame mIoU.

    Attributes:
        signal: Its name; turned so that a useful one correlates positively.
        frames: Frames on which it is known.
        spearman, pearson: In [-1, 1]; NaN where one side is constant or frames are too few.
        within_domains: Spearman inside each domain, mean over domains: what is left when the
            signal is not just a thermometer of which domain it is.
    """

    signal: str
    frames: int
    spearman: float
    pearson: float
    within_domains: float


def associations(table: FrameTable) -> tuple[Association, ...]:
    """Return the correlation of every signal with mIoU over frames with truth and support.

    Raises:
        MissingExtraError: SciPy, which comes with the extra `evaluate`, is missing.
    """
    judged = table.judged
    found = []
    for name in QUALITY:
        values = judged.signal(name)
        inside = [
            spearman(values[judged.domain == d], judged.miou[judged.domain == d])
            for d in np.unique(judged.domain)
        ]
        known = [v for v in inside if math.isfinite(v)]
        found.append(
            Association(
                signal=name,
                frames=int(np.isfinite(values).sum()),
                spearman=spearman(values, judged.miou),
                pearson=pearson(values, judged.miou),
                within_domains=float(np.mean(known)) if known else math.nan,
            )
        )
    return tuple(found)


def pearson(x: Float64Array, y: Float64Array) -> float:
    """Return the linear correlation over the places where both are finite; NaN if undefined."""
    both = np.isfinite(x) & np.isfinite(y)
    if both.sum() < MIN_FRAMES or np.ptp(x[both]) == 0 or np.ptp(y[both]) == 0:
        return math.nan
    return float(np.corrcoef(x[both], y[both])[0, 1])


def spearman(x: Float64Array, y: Float64Array) -> float:
    """Return the correlation of the ranks, ties shared; NaN if undefined.

    Raises:
        MissingExtraError: SciPy is missing.
    """
    both = np.isfinite(x) & np.isfinite(y)
    if both.sum() < MIN_FRAMES:
        return math.nan
    rank = evaluate_extra("scipy.stats").rankdata
    return pearson(np.asarray(rank(x[both]), float), np.asarray(rank(y[both]), float))
