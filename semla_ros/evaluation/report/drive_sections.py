"""How strategies behave over a drive: delays, false swaps, there and back, fusions saved."""

from __future__ import annotations

from collections.abc import Sequence

from semla_ros.evaluation.analysis.summary import means
from semla_ros.evaluation.drawing import charted
from semla_ros.evaluation.page import table_section
from semla_ros.evaluation.report.plots import lines
from semla_ros.evaluation.study.sequence import SequenceMetrics, sequence_metrics
from semla_ros.evaluation.study.study import (
    GATED,
    GATED_AT,
    SEMLA,
    ZERO_SHOT,
    SequenceResult,
    Study,
)
from semla_ros.evaluation.table import Cell, ResultTable


def drive_sections(study: Study) -> list[str]:
    """Return the tables of drives through several domains, and the curve over triggers."""
    tables = [t for r in study.recordings for t in drive_tables(study, r)]
    sections = [table_section(t) for t in tables]
    curve = curve_table(study)
    if curve is None:
        return sections
    rows = [row for row in curve.rows if isinstance(row[1], float) and isinstance(row[2], float)]
    series = {str(row[0]): [(float(str(row[1])), float(str(row[2])))] for row in rows}
    labels = {"xlabel": "fusions saved, %", "ylabel": "mIoU points lost"}
    drawn = charted(lambda: lines(series, **labels))
    return [*sections, table_section(curve, chart=drawn)]


def drive_tables(study: Study, recording: SequenceResult) -> tuple[ResultTable, ...]:
    """Return how each strategy followed the changes of domain; empty without any change."""
    names = [s for s in study.info.strategies if s in recording.results]
    metrics = [
        sequence_metrics(recording, s, study.info.adapters, leave_out=study.info.leave_out)
        for s in names
    ]
    if not metrics or len(metrics[0].stages) < 2:
        return ()
    rows = tuple(_row(m) for m in metrics)
    header = (
        "strategy", "shifts", "missed", "delay", "delay s", "settled",
        "false / 1,000", "fused %", "dwell s", "base kept",
    )  # fmt: skip
    note = (
        "Delay: frames from the change of domain to the first mix that belongs there; settled: "
        "frames until mIoU is at 95 % of the stage's steady value; false: swaps to a mix that "
        "does not belong there; fused: frames before which weights were fused; base kept: the "
        "unadapted mask is bit for bit the same after everything."
    )
    title = f"Following the changes in {recording.name}"
    found = [ResultTable(f"drive-{_file(recording.name)}", title, header, rows, note)]
    back = _there_and_back(metrics, recording.name)
    return (*found, back) if back is not None else tuple(found)


def _row(metrics: SequenceMetrics) -> tuple[Cell, ...]:
    settled = [s.settle_frames for s in metrics.stages if s.settle_frames is not None]
    restored = {None: "not tried", True: "yes", False: "NO"}[metrics.base_restored]
    return (
        metrics.strategy,
        metrics.shifts,
        metrics.missed_shifts,
        metrics.mean_delay_frames,
        metrics.mean_delay_s,
        sum(settled) / len(settled) if settled else None,
        metrics.false_swaps_per_1000,
        100 * metrics.fused_share,
        metrics.dwell_s,
        restored,
    )


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
    rows: list[tuple[Cell, ...]] = [
        (
            name,
            100 * (1.0 - fusions[name] / max(fusions[SEMLA], 1)),
            h_means[SEMLA] - h_means[name],
            h_means[name],
            fusions[name],
        )
        for name in sorted(gates, key=lambda s: (fusions[s], s))
    ]
    header = ("strategy", "fusions saved %", "points lost", "h-mean %", "fusions")
    note = "Against choosing anew on every frame; the trigger is behind the @."
    title = "mIoU lost against fusions saved"
    return ResultTable("curve", title, header, tuple(rows), note)


def _file(name: str) -> str:
    """Return a recording's name as part of a file's name."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
