"""Everything a report says about one study, computed once, before a word is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from semla_ros.core.errors import EvaluationError
from semla_ros.evaluation.analysis.calibration import CalibrationReport, calibrate
from semla_ros.evaluation.analysis.detection import Association, BadMasks, associations, bad_masks
from semla_ros.evaluation.analysis.frames import FrameTable, frame_table, main_strategy
from semla_ros.evaluation.analysis.gain import Gain, gain
from semla_ros.evaluation.extra import MissingExtraError
from semla_ros.evaluation.study.study import GATED, SEMLA, UNIFORM, ZERO_SHOT, Study

LOW_QUANTILE = 0.25
"""Without a wish of the user, a bad mask is one of the worst quarter."""


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """What a study shows.

    Attributes:
        strategy: The one the robot is judged by.
        table: Its frames.
        gains: Against zero-shot, uniform and per-frame SemLA, where they ran.
        associations: Of every signal with mIoU; empty where nothing was scored.
        bad: AUROC of every signal for bad masks.
        calibration: None where it cannot be made, `missing` says why.
        missing: Why something is not there: one sentence each.
    """

    strategy: str
    table: FrameTable
    gains: tuple[Gain, ...]
    associations: tuple[Association, ...]
    bad: tuple[BadMasks, ...]
    calibration: CalibrationReport | None
    missing: tuple[str, ...]

    @property
    def scored(self) -> bool:
        """Whether any frame has a truth."""
        return bool(np.isfinite(self.table.miou).any())

    def gain_over(self, reference: str) -> Gain | None:
        """Return the gain of `strategy` over `reference`."""
        return next((g for g in self.gains if g.reference == reference), None)


def findings(study: Study, *, bad_below: Sequence[float] = ()) -> Findings:
    """Return what `study` shows; what cannot be computed is named in `missing`.

    Args:
        study: With at least one strategy.
        bad_below: mIoU in [0, 1] below which a mask is bad; default: the worst quarter.

    Raises:
        EvaluationError: The study has no strategy.
    """
    strategy = main_strategy(study)
    table = frame_table([study], strategy=strategy)
    references = [r for r in (ZERO_SHOT, UNIFORM, SEMLA) if r != strategy]
    gains = [gain(study, strategy, r) for r in references]
    missing: list[str] = []
    scored = np.isfinite(table.miou)
    if not scored.any():
        missing.append("no frame has ground truth, so nothing is said about mIoU")
    links: tuple[Association, ...] = ()
    bad: tuple[BadMasks, ...] = ()
    calibration = None
    try:
        calibration = _calibration(table, missing)
        if calibration is not None:
            table = replace(table, expected=calibration.expected)
        if len(table.judged):
            links = associations(table)
            limits = bad_below or (round(float(np.quantile(table.judged.miou, LOW_QUANTILE)), 3),)
            bad = tuple(bad_masks(table, limit) for limit in limits)
        elif scored.any():
            missing.append("no frame has a support score, so it cannot be held against mIoU")
    except MissingExtraError as error:
        missing.append(str(error))
    return Findings(
        strategy=strategy,
        table=table,
        gains=tuple(g for g in gains if g is not None),
        associations=links,
        bad=bad,
        calibration=calibration,
        missing=tuple(missing),
    )


def _calibration(table: FrameTable, missing: list[str]) -> CalibrationReport | None:
    """Return the calibration; None, and the reason in `missing`, where there can be none.

    Raises:
        MissingExtraError: A library of the extra is missing.
    """
    if not len(table.judged):
        return None
    try:
        return calibrate(table)
    except MissingExtraError:
        raise
    except EvaluationError as error:
        missing.append(f"no promise can be made: {error}")
        return None


def swaps_saved(study: Study) -> float | None:
    """Return per-frame SemLA's fusions for each one of the gate; None where unknown."""
    changes = {}
    for name in (SEMLA, GATED):
        results = [r.results[name] for r in study.recordings if name in r.results]
        if not results:
            return None
        changes[name] = int(sum(t.swapped.sum() for t in results))
    return changes[SEMLA] / changes[GATED] if changes[GATED] else None
