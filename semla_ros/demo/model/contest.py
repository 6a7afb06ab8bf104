"""Which signals tell how good a mask is: lines through each choice, on unseen domains and streets.

Every frame's expectation comes from a line that has seen neither its domain nor its set of drives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from semla_ros.core.mask_signals import SIGNALS
from semla_ros.core.types import Float64Array
from semla_ros.evaluation.analysis.detection import auroc, spearman
from semla_ros.evaluation.analysis.frames import FrameTable
from semla_ros.evaluation.analysis.line import domain_error, held_out
from semla_ros.evaluation.study.study import StrArray

NAVIGATOR = ("support", "nearest_distance", "novelty", "mix_entropy")
CHOICES: Mapping[str, tuple[str, ...]] = {
    "nothing: the plain mean": (),
    "support (Eq. 15)": ("support",),
    "mean confidence": ("confidence",),
    "support, nearest distance, novelty, entropy of the mix": NAVIGATOR,
    "confidence over pixels and over classes": ("confidence", "class_confidence"),
    "entropy and number of classes": ("class_entropy", "classes"),
    "**the four of the mask (published)**": SIGNALS,
    "all eight": (*SIGNALS, *NAVIGATOR),
}


@dataclass(frozen=True, slots=True)
class Contender:
    """How well one choice of signals does, mean and spread over sets of drives.

    Attributes:
        name: For people.
        error: Mean absolute error of the expected mIoU, domains weighing alike.
        rank, rank_within: Spearman with mIoU over all frames, and within domains (mean of them).
        auroc: mIoU -> AUROC for masks below it.
    """

    name: str
    error: tuple[float, float]
    rank: tuple[float, float]
    rank_within: tuple[float, float]
    auroc: Mapping[float, tuple[float, float]]


def contest(table: FrameTable, sets: StrArray, bad: Sequence[float]) -> tuple[Contender, ...]:
    """Return how each of `CHOICES` does on the promised frames of `table`.

    Args:
        table: Frames with truth and signals.
        sets: (F,) which set of drives each frame is of; at least two.
        bad: mIoU below which a mask is bad.

    Raises:
        MissingExtraError: SciPy or scikit-learn is missing.
    """
    judged, groups = table.promised, sets[table.is_promised]
    found = []
    for name, columns in CHOICES.items():
        expected = held_out(judged, columns, apart=groups)
        parts = [(judged.where(groups == g), expected[groups == g]) for g in np.unique(groups)]
        found.append(
            Contender(
                name=name,
                error=_spread([domain_error(e, t) for t, e in parts]),
                rank=_spread([spearman(e, t.miou) for t, e in parts]),
                rank_within=_spread([_within(e, t) for t, e in parts]),
                auroc={b: _spread([auroc(-e, t.miou < b) for t, e in parts]) for b in bad},
            )
        )
    return tuple(found)


def contest_table(found: Sequence[Contender]) -> str:
    """Return the Markdown table, mean ± standard deviation over sets."""
    bad = tuple(found[0].auroc)
    heads = ["line through", "error, points", "Spearman", "within a domain"]
    heads += [f"AUROC below {100 * b:.0f} %" for b in bad]
    rows = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for each in found:
        cells = [_cell((100 * each.error[0], 100 * each.error[1]), digits=1)]
        cells += [_cell(v) for v in (each.rank, each.rank_within, *each.auroc.values())]
        rows.append(f"| {each.name} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _within(expected: Float64Array, table: FrameTable) -> float:
    inside = [table.domain == d for d in np.unique(table.domain)]
    return float(np.mean([spearman(expected[i], table.miou[i]) for i in inside]))


def _spread(values: Sequence[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1))


def _cell(value: tuple[float, float], *, digits: int = 2) -> str:
    return "–" if np.isnan(value[0]) else f"{value[0]:.{digits}f} ± {value[1]:.{digits}f}"
