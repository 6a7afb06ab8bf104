"""The promise of a mask: expected mIoU and a conformal bound, both tested on unseen domains.

Whether the line is worth publishing is decided here too: on domains held out it has to beat the
plain mean, a line through mean confidence and a line through the support score, each by more than
the spread over those domains.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from semla_ros.core.errors import EvaluationError
from semla_ros.core.mask_signals import SIGNALS
from semla_ros.core.support_calibration import SignalTerm, SupportCalibration, SupportSettings
from semla_ros.core.types import Float64Array
from semla_ros.evaluation.analysis.conformal import conformal_offset, coverage
from semla_ros.evaluation.analysis.frames import FrameTable
from semla_ros.evaluation.analysis.line import Line, fit_line, held_out
from semla_ros.evaluation.extra import evaluate_extra

TARGET = 0.9
MIN_DOMAINS = 3
"""A held-out domain, one the residuals come from, one the line is fitted on."""
CONFIDENT = 0.95
TO_BEAT: Mapping[str, tuple[str, ...]] = {
    "the plain mean": (),
    "mean confidence": ("confidence",),
    "the support score": ("support",),
}
"""What the expected mIoU is held against: lines through these signals."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What a calibration made without a domain says about it.

    Attributes:
        domain: The domain that had no part in line and offset.
        frames: Its frames.
        promised: Share of them whose signals lie in the range of the fit.
        coverage: Share of the promised ones with mIoU at or above the bound; NaN without any.
        error: Mean absolute difference of expected and true mIoU, over all frames.
        errors: The same of what is to be beaten.
        lower: Mean of the bound over the promised ones.
        miou: Mean of the frames' mIoU.
    """

    domain: str
    frames: int
    promised: float
    coverage: float
    error: float
    errors: Mapping[str, float]
    lower: float
    miou: float


@dataclass(frozen=True, slots=True, eq=False)
class CalibrationReport:
    """A calibration and how it did.

    Attributes:
        line: Fitted on all domains, in the order of `SIGNALS`.
        offset: Of the lower bound.
        target: Share of frames the bound should hold for.
        held_out: One entry a domain: the whole procedure repeated without it.
        frames: Frames with signals and truth.
        blocks: Unbroken stretches of one domain among them.
        expected: (F,) of every frame of the table: mIoU expected by a line that has not seen its
            domain; NaN where nothing is promised or known.
        refusal: Why the promise is not to be published, one line; empty where it is.
    """

    line: Line
    offset: float
    target: float
    held_out: tuple[HeldOut, ...]
    frames: int
    blocks: int
    expected: Float64Array
    refusal: str

    @property
    def coverage(self) -> float:
        """Mean coverage over held-out domains that were promised anything."""
        return float(np.mean([h.coverage for h in self._covered])) if self._covered else math.nan

    @property
    def worst(self) -> HeldOut:
        """The held-out domain with the lowest coverage."""
        return min(self._covered or self.held_out, key=lambda h: (h.coverage, h.domain))

    @property
    def error(self) -> float:
        """Mean absolute error over held-out domains."""
        return float(np.mean([h.error for h in self.held_out]))

    @property
    def errors(self) -> dict[str, float]:
        """The same of what is to be beaten."""
        return {name: _mean_error(self.held_out, name) for name in TO_BEAT}

    def stored(self, settings: SupportSettings, *, made_by: str) -> SupportCalibration:
        """Return what goes into a bundle.

        Raises:
            EvaluationError: The promise is worth nothing.
        """
        if self.refusal:
            raise EvaluationError(f"the promise is not worth publishing: {self.refusal}")
        rows = zip(
            SIGNALS,
            self.line.mean,
            self.line.scale,
            self.line.coefficient,
            self.line.low,
            self.line.high,
            strict=True,
        )
        return SupportCalibration(
            terms=tuple(
                SignalTerm(name, *(float(f"{v:.7g}") for v in row)) for name, *row in rows
            ),
            intercept=round(self.line.intercept, 6),
            offset=round(self.offset, 6),
            target=self.target,
            coverage=round(self.coverage, 4),
            worst_coverage=round(self.worst.coverage, 4),
            error=round(self.error, 5),
            errors={name: round(value, 5) for name, value in self.errors.items()},
            frames=self.frames,
            domains=tuple(h.domain for h in self.held_out),
            settings=settings,
            made_by=made_by,
        )

    @property
    def _covered(self) -> list[HeldOut]:
        return [h for h in self.held_out if not math.isnan(h.coverage)]


def calibrate(table: FrameTable, *, target: float = TARGET) -> CalibrationReport:
    """Return the calibration of all frames with a truth for which a bundle makes promises.

    The residuals behind the offset come from lines that have not seen the frame's domain; for
    `held_out` the whole procedure is repeated without each domain in turn.

    Raises:
        EvaluationError: Fewer than three domains.
        MissingExtraError: SciPy is missing.
    """
    judged = table.promised
    domains = [str(d) for d in np.unique(judged.domain)]
    if len(domains) < MIN_DOMAINS:
        raise EvaluationError(
            f"expected frames with truth of at least {MIN_DOMAINS} domains, got {domains!r}: "
            "evaluate recordings of more domains"
        )
    expected = np.full(len(table), np.nan)
    expected[table.is_promised] = held_out(judged, SIGNALS)
    line, offset = _procedure(judged, target)
    tested = tuple(_held_out(judged, domain, target) for domain in domains)
    blocks = len(np.unique(judged.block))
    return CalibrationReport(
        line=line,
        offset=offset,
        target=target,
        held_out=tested,
        frames=len(judged),
        blocks=blocks,
        expected=expected,
        refusal=_refusal(tested, blocks=blocks, target=target),
    )


def reliability(
    report: CalibrationReport, table: FrameTable, *, bins: int = 8
) -> tuple[tuple[float, float, int], ...]:
    """Return (expected, true mIoU, frames) of bins of equal size, by rising expectation.

    Expectations are those of lines that have not seen the frame's domain.
    """
    known = np.isfinite(report.expected)
    expected, miou = report.expected[known], table.miou[known]
    order = np.argsort(expected, kind="stable")
    return tuple(
        (float(expected[part].mean()), float(miou[part].mean()), len(part))
        for part in np.array_split(order, min(bins, len(order)))
        if len(part)
    )


@dataclass(frozen=True, slots=True)
class Kept:
    """How a stored calibration does on frames that had no part in it.

    Attributes:
        frames: Frames with a truth.
        promised: Those it promised something for: in the library, signals within its range.
        coverage: Share of these whose mIoU is at or above the bound; NaN without any.
        error: Mean absolute error of the expectation over these; NaN without any.
    """

    frames: int
    promised: int
    coverage: float
    error: float


def kept(calibration: SupportCalibration, table: FrameTable) -> Kept:
    """Return how a stored calibration does on the frames of `table`."""
    found = table.promised
    promises = np.array([calibration.promise(row) for row in found.mask]).reshape(-1, 2)
    known = np.isfinite(promises[:, 0])
    expected, lower = promises[known].T
    miou = found.miou[known]
    error = float(np.abs(expected - miou).mean()) if miou.size else math.nan
    return Kept(len(table.judged), int(known.sum()), coverage(lower, miou), error)


def _held_out(judged: FrameTable, domain: str, target: float) -> HeldOut:
    """Return how the procedure without `domain` does on it."""
    inside = judged.domain == domain
    others, seen = judged.where(~inside), judged.where(inside)
    line, offset = _procedure(others, target)
    expected, promised = line(seen.mask), line.inside(seen.mask)
    lower = np.maximum(expected - offset, 0.0)[promised]
    rivals = {}
    for name, columns in TO_BEAT.items():
        rival = fit_line(others.columns(columns), others.miou, others.domain)
        rivals[name] = float(np.abs(rival(seen.columns(columns)) - seen.miou).mean())
    return HeldOut(
        domain=domain,
        frames=len(seen),
        promised=float(promised.mean()),
        coverage=coverage(lower, seen.miou[promised]),
        error=float(np.abs(expected - seen.miou).mean()),
        errors=rivals,
        lower=float(lower.mean()) if lower.size else math.nan,
        miou=float(seen.miou.mean()),
    )


def _procedure(table: FrameTable, target: float) -> tuple[Line, float]:
    """Return the line of all domains, and the offset from residuals of domains held out."""
    residuals = held_out(table, SIGNALS) - table.miou
    offset = max(conformal_offset(residuals, table.block, target=target), 0.0)
    return fit_line(table.mask, table.miou, table.domain), offset


def _refusal(tested: Sequence[HeldOut], *, blocks: int, target: float) -> str:
    """Return why the promise is not worth publishing, one line; empty where it is.

    Raises:
        MissingExtraError: SciPy is missing.
    """
    needed = math.ceil(target / (1 - target) - 1e-9)
    if blocks < needed:
        return (
            f"{blocks} unbroken stretches of one domain, but a bound for {target:.0%} of frames "
            f"takes {needed}: evaluate more recordings"
        )
    for name in TO_BEAT:
        gains = np.array([h.errors[name] - h.error for h in tested])
        if _low_end(gains) <= 0:
            return (
                f"on held-out domains the expected mIoU errs by "
                f"{100 * float(np.mean([h.error for h in tested])):.1f} points and {name} by "
                f"{100 * _mean_error(tested, name):.1f}: no gain beyond the spread over domains"
            )
    return ""


def _low_end(gains: Float64Array) -> float:
    """Return the low end of Student's interval for the mean of gains, each domain one trial."""
    quantile = evaluate_extra("scipy.stats").t.ppf(0.5 + CONFIDENT / 2, len(gains) - 1)
    return float(gains.mean() - quantile * gains.std(ddof=1) / math.sqrt(len(gains)))


def _mean_error(tested: Sequence[HeldOut], name: str) -> float:
    return float(np.mean([h.errors[name] for h in tested]))
