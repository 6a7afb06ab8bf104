"""What the gate saves against per-frame SemLA, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from semla_ros.errors import EvaluationError
from semla_ros.evaluation.study.record import SEMLA


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One setting of the gate against per-frame SemLA.

    Attributes:
        strategy: Its name.
        miou: Mean over domains, in [0, 1].
        miou_lost: What per-frame SemLA has more.
        fusions: Number of swaps.
        fusions_saved: Share of per-frame SemLA's fusions that were not needed, in [0, 1].
    """

    strategy: str
    miou: float
    miou_lost: float
    fusions: int
    fusions_saved: float


def gate_curve(
    mious: Mapping[str, float], fusions: Mapping[str, int], *, strategies: Sequence[str]
) -> tuple[CurvePoint, ...]:
    """Return mIoU lost against fusions saved, fewest fusions first.

    Args:
        mious: Strategy -> mIoU, per-frame SemLA among them.
        fusions: Strategy -> number of swaps.
        strategies: The settings of the gate to place on the curve.

    Raises:
        EvaluationError: Per-frame SemLA is missing.
    """
    if SEMLA not in mious:
        raise EvaluationError(
            f"expected the strategy {SEMLA!r} to compare with, got {tuple(mious)!r}: evaluate it"
        )
    points = [
        CurvePoint(
            strategy=name,
            miou=mious[name],
            miou_lost=mious[SEMLA] - mious[name],
            fusions=fusions[name],
            fusions_saved=1.0 - fusions[name] / max(fusions[SEMLA], 1),
        )
        for name in strategies
    ]
    return tuple(sorted(points, key=lambda p: (p.fusions, p.strategy)))
