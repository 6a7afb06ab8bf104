"""Straight lines from signals to frame mIoU, judged by domains that they were not fitted on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semla_ros.core.types import Float64Array
from semla_ros.evaluation.analysis.frames import FrameTable
from semla_ros.evaluation.study.study import BoolArray, StrArray

PENALTY = 0.01
"""Ridge penalty for each frame: signals that go together (mean confidence over pixels and over
classes) share their weight instead of fighting with opposite signs."""


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """A straight line in S signals, fitted on frames of equal weight for each domain.

    Attributes:
        mean, scale: (S,) weighted mean and spread of each signal; scale 1 where it is constant.
        coefficient: (S,) mIoU for each `scale`.
        intercept: mIoU where every signal has its mean.
        low, high: (S,) range of each signal over the frames of the fit.
    """

    mean: Float64Array
    scale: Float64Array
    coefficient: Float64Array
    intercept: float
    low: Float64Array
    high: Float64Array

    def __call__(self, signals: Float64Array) -> Float64Array:
        """Return the expected mIoU of signals (F, S), (F,) in [0, 1]; held at the range's ends."""
        held = np.clip(signals, self.low, self.high)
        found = self.intercept + (held - self.mean) / self.scale @ self.coefficient
        expected: Float64Array = np.clip(found, 0.0, 1.0)
        return expected

    def inside(self, signals: Float64Array) -> BoolArray:
        """Return (F,) whether every signal lies in the range of the fit."""
        between: BoolArray = (signals >= self.low) & (signals <= self.high)
        found: BoolArray = np.all(between, axis=1)
        return found


def fit_line(
    signals: Float64Array, miou: Float64Array, domains: StrArray, *, penalty: float = PENALTY
) -> Line:
    """Return the ridge regression of mIoU on signals, every domain of equal weight.

    Args:
        signals: (F, S) finite; S = 0 fits the plain mean.
        miou: (F,) finite.
        domains: (F,).
        penalty: For each frame, on standardised signals; the intercept is free.

    Source: Hoerl and Kennard, "Ridge regression" (1970), closed form.
    """
    weights = domain_weights(domains)
    mean = np.average(signals, axis=0, weights=weights)
    scale = np.sqrt(np.average((signals - mean) ** 2, axis=0, weights=weights))
    scale = np.where(scale > 1e-12, scale, 1.0)
    intercept = float(np.average(miou, weights=weights))
    standard = (signals - mean) / scale
    weighted = standard * weights[:, None]
    square = weighted.T @ standard + penalty * weights.sum() * np.eye(signals.shape[1])
    coefficient = np.linalg.solve(square, weighted.T @ (miou - intercept))
    return Line(mean, scale, coefficient, intercept, signals.min(axis=0), signals.max(axis=0))


def held_out(
    table: FrameTable, names: tuple[str, ...], *, apart: StrArray | None = None
) -> Float64Array:
    """Return the expected mIoU of each frame by lines that have not seen its domain, (F,).

    Args:
        table: Frames with truth and signals.
        names: Signals, see `FrameTable.columns`; none for the plain mean.
        apart: (F,) groups of frames; a frame's line has not seen its group either. None: domains
            alone are held out.
    """
    signals = table.columns(names)
    groups = np.zeros(len(table), dtype=np.str_) if apart is None else apart
    expected = np.empty(len(table))
    for domain in np.unique(table.domain):
        for group in np.unique(groups[table.domain == domain]):
            seen = (table.domain == domain) & (groups == group)
            others = table.domain != domain
            if apart is not None:
                others &= groups != group
            line = fit_line(signals[others], table.miou[others], table.domain[others])
            expected[seen] = line(signals[seen])
    return expected


def domain_weights(domains: StrArray) -> Float64Array:
    """Return (F,) weights that give every domain the same share, mean 1."""
    _, which, counts = np.unique(domains, return_inverse=True, return_counts=True)
    weights: Float64Array = len(which) / (len(counts) * counts[which])
    return weights


def domain_error(expected: Float64Array, table: FrameTable) -> float:
    """Return the mean absolute error of `expected` (F,), every domain of equal weight."""
    return float(np.average(np.abs(expected - table.miou), weights=domain_weights(table.domain)))
