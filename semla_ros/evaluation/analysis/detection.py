"""What a signal is worth: how closely it follows mIoU, and what it tells apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from semla_ros.core.errors import EvaluationError
from semla_ros.core.types import Float64Array
from semla_ros.evaluation.analysis.frames import QUALITY, SIGNALS, FrameTable
from semla_ros.evaluation.extra import evaluate_extra
from semla_ros.evaluation.study.study import BoolArray, StrArray

FALSE_ALARMS = 0.01
MIN_FRAMES = 3


@dataclass(frozen=True, slots=True)
class BadMasks:
    """AUROC of every signal for "frame mIoU below `threshold`".

    Attributes:
        threshold: In [0, 1].
        share: Share of frames below it.
        auroc: Signal -> area under the curve, 0.5 = no use; NaN where undefined.
    """

    threshold: float
    share: float
    auroc: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Alarm:
    """One signal as an alarm for scenes the library does not know.

    Attributes:
        signal: Its name.
        family: What was unknown: a pattern, or a recording.
        known, unknown: Frames of each kind.
        auroc: 0.5 = no use.
        tpr: Share of unknown frames found at `FALSE_ALARMS` of the known ones raising it.
    """

    signal: str
    family: str
    known: int
    unknown: int
    auroc: float
    tpr: float


def bad_masks(table: FrameTable, threshold: float) -> BadMasks:
    """Return how well each signal finds the masks below a mIoU.

    Raises:
        MissingExtraError: scikit-learn is missing.
    """
    judged = table.judged
    bad = judged.miou < threshold
    found = {name: auroc(-judged.signal(name), bad) for name in QUALITY}
    return BadMasks(threshold, float(bad.mean()) if len(judged) else math.nan, found)


def auroc(score: Float64Array, positive: BoolArray) -> float:
    """Return the area under the ROC curve of `score` for `positive`; NaN without both kinds.

    Raises:
        MissingExtraError: scikit-learn is missing.
    """
    known = np.isfinite(score)
    if len(np.unique(positive[known])) < 2:
        return math.nan
    return float(evaluate_extra("sklearn.metrics").roc_auc_score(positive[known], score[known]))


def tpr_at(score: Float64Array, positive: BoolArray, *, allowed: float = FALSE_ALARMS) -> float:
    """Return the share of positives above a threshold that few negatives pass; NaN without both.

    Args:
        score: (F,) large means positive.
        positive: (F,).
        allowed: Share of the negatives that may pass.
    """
    known = np.isfinite(score)
    hits, rest = np.sort(score[known & positive]), np.sort(score[known & ~positive])
    if not hits.size or not rest.size:
        return math.nan
    passing = math.floor(allowed * rest.size + 1e-9)
    threshold = rest[rest.size - 1 - passing]
    return float((hits > threshold).mean())


def alarms(known: FrameTable, unknown: FrameTable, *, family: str) -> tuple[Alarm, ...]:
    """Return every signal as an alarm for the frames of `unknown` among those of `known`.

    Raises:
        MissingExtraError: scikit-learn is missing.
    """
    positive = np.concatenate([np.zeros(len(known), np.bool_), np.ones(len(unknown), np.bool_)])
    found = []
    for name in SIGNALS:
        score = -np.concatenate([known.signal(name), unknown.signal(name)])
        finite = np.isfinite(score)
        found.append(
            Alarm(
                signal=name,
                family=family,
                known=int((finite & ~positive).sum()),
                unknown=int((finite & positive).sum()),
                auroc=auroc(score, positive),
                tpr=tpr_at(score, positive),
            )
        )
    return tuple(found)


def rates(novelty: Float64Array, *, threshold: float, known: BoolArray) -> tuple[float, float]:
    """Return (false positive rate, true positive rate) of "novelty above threshold"; 0: never."""
    alarm = novelty > (threshold if threshold > 0 else math.inf)
    finite = np.isfinite(novelty)
    false, true = alarm[finite & known], alarm[finite & ~known]
    return (
        float(false.mean()) if false.size else math.nan,
        float(true.mean()) if true.size else math.nan,
    )


def families(domains: StrArray | Sequence[str], patterns: Sequence[str]) -> dict[str, BoolArray]:
    """Return pattern -> (F,) which frames are of a domain that it matches.

    Raises:
        EvaluationError: A pattern matches no domain, or all of them.
    """
    names = np.asarray(domains, dtype=np.str_)
    found = {}
    for pattern in patterns:
        inside = np.array([fnmatchcase(str(n), pattern) for n in names], dtype=np.bool_)
        if inside.all() or not inside.any():
            raise EvaluationError(
                f"expected a pattern that matches some of {sorted(set(names.tolist()))!r} and "
                f"leaves some, got {pattern!r}"
            )
        found[pattern] = inside
    return found


def family_patterns(domains: Sequence[str]) -> tuple[str, ...]:
    """Return the patterns of families in names like `fog-night`: shared by some, not by all.

    A family is a word between hyphens that at least two domains have and at least one lacks.
    """
    words: dict[str, int] = {}
    distinct = sorted(set(domains))
    for name in distinct:
        for word in set(name.split("-")):
            words[word] = words.get(word, 0) + 1
    shared = [w for w, n in sorted(words.items()) if w and 1 < n < len(distinct)]
    return tuple(f"*{w}*" for w in shared)


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
