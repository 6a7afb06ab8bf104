"""Support as a promise: isotonic map to mIoU, conformal bound, both tested on unseen domains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from semla_ros.errors import EvaluationError
from semla_ros.evaluation.analysis.conformal import conformal_offset, coverage
from semla_ros.evaluation.analysis.extra import evaluate_extra
from semla_ros.evaluation.analysis.frames import FrameTable
from semla_ros.support_calibration import MAX_KNOTS, SupportCalibration, SupportSettings
from semla_ros.types import Float64Array

TARGET = 0.9
MIN_DOMAINS = 3
"""A held-out domain, one the residuals come from, one the map is fitted on."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What a calibration made without a domain says about it.

    Attributes:
        domain: The domain that had no part in map and offset.
        frames: Its frames.
        coverage: Share of them with mIoU at or above the bound.
        error: Mean absolute difference of expected and true mIoU.
        lower: Mean of the bound.
        miou: Mean of the frames' mIoU.
    """

    domain: str
    frames: int
    coverage: float
    error: float
    lower: float
    miou: float


@dataclass(frozen=True, slots=True, eq=False)
class Knots:
    """A non-decreasing piecewise linear map, (K,) each; constant beyond its ends."""

    support: Float64Array
    expected: Float64Array

    def __call__(self, support: Float64Array) -> Float64Array:
        """Return the expected mIoU, (F,)."""
        expected: Float64Array = np.interp(support, self.support, self.expected)
        return expected


@dataclass(frozen=True, slots=True, eq=False)
class CalibrationReport:
    """A calibration and how it did.

    Attributes:
        knots: Fitted on all domains.
        offset: Of the lower bound.
        target: Share of frames the bound should hold for.
        held_out: One entry a domain: the whole procedure repeated without it.
        frames: Frames with support and truth.
        constant_error: Mean absolute error of held-out domains when mIoU is predicted by the
            other domains' mean, support unseen: what the map has to beat.
    """

    knots: Knots
    offset: float
    target: float
    held_out: tuple[HeldOut, ...]
    frames: int
    constant_error: float

    @property
    def coverage(self) -> float:
        """Mean coverage over held-out domains."""
        return float(np.mean([h.coverage for h in self.held_out]))

    @property
    def worst(self) -> HeldOut:
        """The held-out domain with the lowest coverage."""
        return min(self.held_out, key=lambda h: (h.coverage, h.domain))

    @property
    def error(self) -> float:
        """Mean absolute error over held-out domains."""
        return float(np.mean([h.error for h in self.held_out]))

    def stored(self, settings: SupportSettings, *, made_by: str) -> SupportCalibration:
        """Return what goes into a bundle."""
        return SupportCalibration(
            support=tuple(round(float(v), 7) for v in self.knots.support),
            expected=tuple(round(float(v), 5) for v in self.knots.expected),
            offset=round(self.offset, 5),
            target=self.target,
            coverage=round(self.coverage, 4),
            worst_coverage=round(self.worst.coverage, 4),
            frames=self.frames,
            domains=tuple(h.domain for h in self.held_out),
            settings=settings,
            made_by=made_by,
        )


def isotonic_knots(support: Float64Array, miou: Float64Array, weights: Float64Array) -> Knots:
    """Return the non-decreasing least-squares fit of mIoU to support.

    Args:
        support: (F,) finite.
        miou: (F,) finite.
        weights: (F,) > 0.

    Raises:
        MissingExtraError: scikit-learn is missing.
    """
    isotonic = evaluate_extra("sklearn.isotonic").IsotonicRegression
    fit = isotonic(y_min=0.0, y_max=1.0, increasing=True, out_of_bounds="clip")
    fit.fit(support, miou, sample_weight=weights)
    x = np.asarray(fit.X_thresholds_, dtype=np.float64)
    y = np.asarray(fit.y_thresholds_, dtype=np.float64)
    kept = np.concatenate([[True], np.diff(np.round(x, 7)) > 0])
    x, y = x[kept], y[kept]
    if len(x) > MAX_KNOTS:
        chosen = np.unique(np.linspace(0, len(x) - 1, MAX_KNOTS).round().astype(int))
        x, y = x[chosen], y[chosen]
    return Knots(x, np.maximum.accumulate(y))


def calibrate(table: FrameTable, *, target: float = TARGET) -> CalibrationReport:
    """Return the calibration of all frames with a truth for which a bundle makes promises.

    The residuals behind the offset come from maps that have not seen the frame's domain; for
    `held_out` the whole procedure is repeated without each domain in turn.

    Raises:
        EvaluationError: Fewer than three domains.
        MissingExtraError: scikit-learn is missing.
    """
    judged = table.promised
    domains = [str(d) for d in np.unique(judged.domain)]
    if len(domains) < MIN_DOMAINS:
        raise EvaluationError(
            f"expected frames with truth of at least {MIN_DOMAINS} domains, got {domains!r}: "
            "evaluate recordings of more domains"
        )
    held_out, constant = [], []
    for domain in domains:
        inside = judged.domain == domain
        others, seen = judged.where(~inside), judged.where(inside)
        knots, offset = _procedure(others, target)
        expected = knots(seen.support)
        lower = np.maximum(expected - offset, 0.0)
        held_out.append(
            HeldOut(
                domain=domain,
                frames=len(seen),
                coverage=coverage(lower, seen.miou),
                error=float(np.abs(expected - seen.miou).mean()),
                lower=float(lower.mean()),
                miou=float(seen.miou.mean()),
            )
        )
        constant.append(float(np.abs(_domain_mean(others) - seen.miou).mean()))
    knots, offset = _procedure(judged, target)
    return CalibrationReport(
        knots, offset, target, tuple(held_out), len(judged), float(np.mean(constant))
    )


def reliability(
    report: CalibrationReport, table: FrameTable, *, bins: int = 8
) -> tuple[tuple[float, float, int], ...]:
    """Return (expected, true mIoU, frames) of bins of equal size, by rising expectation."""
    judged = table.promised
    expected = report.knots(judged.support)
    order = np.argsort(expected, kind="stable")
    return tuple(
        (float(expected[part].mean()), float(judged.miou[part].mean()), len(part))
        for part in np.array_split(order, min(bins, len(order)))
        if len(part)
    )


def held_coverage(calibration: SupportCalibration, table: FrameTable) -> float:
    """Return the share of frames of `table` that a stored calibration's bound holds for.

    Frames OUT_OF_LIBRARY, where nothing is promised, do not count; NaN if no other is left.
    """
    promised = table.promised
    lower = np.array([calibration.miou_lower(float(s)) for s in promised.support])
    return coverage(lower, promised.miou) if len(promised) else math.nan


def _procedure(table: FrameTable, target: float) -> tuple[Knots, float]:
    """Return the map of all domains, and the offset from residuals of domains held out."""
    residuals = np.empty(len(table))
    for domain in np.unique(table.domain):
        inside = table.domain == domain
        fitted = _fit(table.where(~inside))
        residuals[inside] = fitted(table.support[inside]) - table.miou[inside]
    return _fit(table), conformal_offset(residuals, table.block, target=target)


def _fit(table: FrameTable) -> Knots:
    return isotonic_knots(table.support, table.miou, _domain_weights(table.domain))


def _domain_weights(
    domains: Sequence[str] | np.ndarray[tuple[int, ...], np.dtype[np.str_]],
) -> Float64Array:
    """Return weights that give every domain the same share, mean 1."""
    _, which, counts = np.unique(np.asarray(domains), return_inverse=True, return_counts=True)
    weights: Float64Array = len(which) / (len(counts) * counts[which])
    return weights


def _domain_mean(table: FrameTable) -> float:
    return float(np.average(table.miou, weights=_domain_weights(table.domain)))
