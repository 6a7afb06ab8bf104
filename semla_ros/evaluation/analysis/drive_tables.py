"""How strategies behave over a drive: delays, false swaps, there and back, fusions saved."""

from __future__ import annotations

from collections.abc import Sequence

from semla_ros.evaluation.analysis.summary import means
from semla_ros.evaluation.study.sequence import SequenceMetrics, sequence_metrics
from semla_ros.evaluation.study.study import (
    GATED,
    GATED_AT,
    SEMLA,
    ZERO_SHOT,
    SequenceResult,
    Study,
)
from semla_ros.evaluation.table import Cell, ResultTable, table_of

_RESTORED = {None: "not tried", True: "yes", False: "NO"}


def drive_tables(study: Study, recording: SequenceResult) -> tuple[ResultTable, ...]:
    """Return how each strategy followed the changes of domain; empty without any change."""
    info = study.info
    metrics = [
        sequence_metrics(recording, s, info.adapters, leave_out=info.leave_out)
        for s in info.strategies
        if s in recording.results
    ]
    if not metrics or len(metrics[0].stages) < 2:
        return ()
    following = table_of(
        f"Following the changes in {recording.name}",
        metrics,
        {
            "strategy": lambda m: m.strategy,
            "shifts": lambda m: m.shifts,
            "missed": lambda m: m.missed_shifts,
            "delay": lambda m: m.mean_delay_frames,
            "delay s": lambda m: m.mean_delay_s,
            "settled": _settled,
            "false / 1,000": lambda m: m.false_swaps_per_1000,
            "fused %": lambda m: 100 * m.fused_share,
            "dwell s": lambda m: m.dwell_s,
            "base kept": lambda m: _RESTORED[m.base_restored],
        },
        name=f"drive-{_file(recording.name)}",
        note="Delay: frames from the change of domain to the first mix that belongs there; "
        "settled: frames until mIoU is at 95 % of the stage's steady value; false: swaps to a mix "
        "that does not belong there; fused: frames before which weights were fused; base kept: "
        "the unadapted mask is bit for bit the same after everything.",
    )
    back = _there_and_back(metrics, recording.name)
    return (following,) if back is None else (following, back)


def _settled(metrics: SequenceMetrics) -> float | None:
    known = [s.settle_frames for s in metrics.stages if s.settle_frames is not None]
    return sum(known) / len(known) if known else None


def _there_and_back(metrics: Sequence[SequenceMetrics], name: str) -> ResultTable | None:
    shown = [m for m in metrics if m.strategy in (ZERO_SHOT, SEMLA, GATED)]
    domains = list(shown[0].backward) if shown else []
    if not domains:
        return None
    rows: list[tuple[Cell, ...]] = [
        (d, *(cell for m in shown for cell in (100 * m.forward[d], 100 * m.backward[d])))
        for d in domains
    ]
    header = ("domain", *(f"{m.strategy} {visit}" for m in shown for visit in ("first", "last")))
    note = (
        "mIoU in percent of the first and the last visit to each domain. What adapting forgets "
        "would show as a fall that zero-shot does not have; streets and traffic differ too."
    )
    title = f"There and back in {name}"
    return ResultTable(f"back-{_file(name)}", title, header, tuple(rows), note)


def curve_table(study: Study) -> ResultTable | None:
    """Return mIoU lost against fusions saved over triggers; None without `semla-gated@…`."""
    gates = [s for s in study.info.strategies if s == GATED or s.startswith(GATED_AT)]
    if SEMLA not in study.info.strategies or len(gates) < 2:
        return None
    h_means = {s: means(study, s)[0] for s in (SEMLA, *gates)}
    fusions = {
        s: int(sum(r.results[s].swapped.sum() for r in study.recordings if s in r.results))
        for s in (SEMLA, *gates)
    }
    return table_of(
        "mIoU lost against fusions saved",
        sorted(gates, key=lambda s: (fusions[s], s)),
        {
            "strategy": lambda s: s,
            "fusions saved %": lambda s: 100 * (1.0 - fusions[s] / max(fusions[SEMLA], 1)),
            "points lost": lambda s: h_means[SEMLA] - h_means[s],
            "h-mean %": lambda s: h_means[s],
            "fusions": lambda s: fusions[s],
        },
        name="curve",
        note="Against choosing anew on every frame; the trigger is behind the @.",
    )


def _file(name: str) -> str:
    """Return a recording's name as part of a file's name."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
