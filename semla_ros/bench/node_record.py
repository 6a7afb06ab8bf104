"""The record of `semla bench node`: tables, pictures' series, and ros2_benchmark's keys."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from semla_ros.bench.measures import slope, spread, summary
from semla_ros.bench.node_bench import QUIET, SWAPPING, Measured, NodeBench, NodeBenchRequest
from semla_ros.bench.node_notes import node_notes
from semla_ros.bench.node_run import (
    figures,
    overheads,
    pooled,
    stage_split,
    timeline,
)
from semla_ros.bench.record import BenchRecord, Row
from semla_ros.bench.ros2_metrics import basic_metrics, conclude

_CURVE_POINTS = 101


def node_record(request: NodeBenchRequest, bench: NodeBench, *, command: str) -> BenchRecord:
    """Return everything that was measured as one record.

    Besides the record's own keys the JSON has those of ros2_benchmark: the metrics at the peak
    (without a peak: at the highest rate) at the top, those of fixed rates under `10.0fps`.
    """
    first = request.setups[0]
    main = [m for m in bench.measured if m.setup == first]
    quiet = [m for m in main if m.phase == QUIET]
    extra = {
        "tables": [
            {
                "title": "Where the time of a frame goes (p50 over all frames, ms)",
                "rows": _stages(quiet),
            },
            {"title": "Swapping without a pause against quiet", "rows": _swaps(main)},
            {"title": "What the node uses", "rows": _resources(main)},
            {"title": "Memory of the node over all its runs", "rows": _memory(main)},
            {"title": "Transports and executors", "rows": _setups(bench)},
        ],
        "series": [_series(m) for m in main],
        "peak": {"hz": bench.peak_hz, "probes": [list(p) for p in bench.probes]},
        **_ros2(quiet, bench),
    }
    rows = tuple(_row(m, bench) for m in main)
    title = f"The live node over ROS 2 (engine {bench.engine}, {first})"
    return BenchRecord(title, command, rows, notes=node_notes(request, bench), extra=extra)


def _row(measured: Measured, bench: NodeBench) -> Row:
    runs = [figures(run) for run in measured.runs]
    latency = summary(pooled(measured.runs))
    over = spread([each.get("latency_p50", math.nan) for each in runs])
    return {
        "rate_hz": _shown_rate(measured, bench),
        "phase": measured.phase,
        "sent": int(sum(r["sent"] for r in runs)),
        "missed": int(sum(r["missed"] for r in runs)),
        "stale": int(sum(r["stale"] for r in runs)),
        "p50_ms": latency.get("p50", math.nan),
        "p50_repeats": f"{over.low:.1f} to {over.high:.1f}",
        "p95_ms": latency.get("p95", math.nan),
        "p99_ms": latency.get("p99", math.nan),
        "max_ms": latency.get("max", math.nan),
        "age_p50_ms": _median(runs, "age_p50"),
        "jitter_mean_ms": _median(runs, "jitter_mean"),
        "overhead_least_ms": _least(measured),
        "overhead_p50_ms": _median(runs, "node_overhead_p50"),
        "over_bare_p50_ms": _over_bare(measured),
        "relay_p50_ms": _relay(measured, bench),
    }


def _relay(measured: Measured, bench: NodeBench) -> float | None:
    """Return p50 of the latency of a process that only relays, None where it was not taken."""
    run = bench.relayed.get(measured.hz) if measured.phase == QUIET else None
    return None if run is None else summary(run.latency_ms).get("p50", math.nan)


def _over_bare(measured: Measured) -> float:
    """Return p50 of the latency less p50 of the network alone, median over repeats."""
    differences = [
        summary(run.latency_ms)["p50"] - summary(alone)["p50"]
        for run, alone in zip(measured.runs, measured.bare_ms, strict=True)
        if alone and len(run.latency_ms)
    ]
    return spread(differences).median


def _least(measured: Measured) -> float:
    """Return the least overhead of any frame: what other programs have not spoiled."""
    return min((ms for run in measured.runs for ms in overheads(run)), default=math.nan)


def _stages(quiet: Sequence[Measured]) -> list[Row]:
    rows: list[Row] = []
    for measured in quiet:
        splits = [stage_split(run) for run in measured.runs]
        names = list(dict.fromkeys(name for split in splits for name in split))
        medians = {n: spread([s[n]["p50"] for s in splits if n in s]).median for n in names}
        rows.append({"rate_hz": round(measured.hz, 1), **medians})
    return rows


def _swaps(main: Sequence[Measured]) -> list[Row]:
    rows: list[Row] = []
    quiet = {m.hz: summary(pooled(m.runs)) for m in main if m.phase == QUIET}
    still = {
        m.hz: int(sum(figures(run)["stalled"] for run in m.runs)) for m in main if m.phase == QUIET
    }
    for measured in (m for m in main if m.phase == SWAPPING):
        runs = [figures(run) for run in measured.runs]
        busy, calm = summary(pooled(measured.runs)), quiet.get(measured.hz, {})
        orders = [(b - a) * 1e-6 for run in measured.runs for a, b, ok, _ in run.orders if ok]
        prepared = [
            s["fuse_ms"] + s["load_ms"] for r in measured.runs for s in r.swaps if s["committed"]
        ]
        served, made = summary(orders), summary(prepared)
        rows.append(
            {
                "rate_hz": round(measured.hz, 1),
                "swaps": int(sum(r["swaps"] for r in runs)),
                "failed": int(sum(r["failed_swaps"] for r in runs)),
                "order_to_service_p50_ms": served.get("p50", math.nan),
                "order_to_service_p99_ms": served.get("p99", math.nan),
                "prepare_p50_ms": made.get("p50", math.nan),
                "prepare_p99_ms": made.get("p99", math.nan),
                "frame_p50_over_quiet": _ratio(busy, calm, "p50"),
                "frame_p99_over_quiet": _ratio(busy, calm, "p99"),
                "stall_max_ms": max((r["stall_max"] for r in runs), default=math.nan),
                "frames_stalled": int(sum(r["stalled"] for r in runs)),
                "of_frames": int(sum(r["answered"] for r in runs)),
                "stalled_while_quiet": still.get(measured.hz, 0),
            }
        )
    return rows


def _resources(main: Sequence[Measured]) -> list[Row]:
    rows: list[Row] = []
    for measured in main:
        runs, usages = [figures(r) for r in measured.runs], measured.usages
        false = [r["domain_swaps"] for r in runs] if measured.phase == QUIET else []
        rows.append(
            {
                "rate_hz": round(measured.hz, 1),
                "phase": measured.phase,
                "cpu_percent": spread([u.cpu_percent for u in usages]).median,
                "rss_mib": max(u.rss_mib for u in usages),
                "threads": max(u.threads for u in usages),
                "forced_switches_per_s": _per_second(measured),
                "player_late_p50_ms": _median(runs, "player_late_p50"),
                "dropped_by_node": int(sum(r["dropped_by_node"] for r in runs)),
                "older_than_100_ms": int(sum(r["late"] for r in runs)),
                "false_swaps": int(sum(false)) if measured.phase == QUIET else None,
            }
        )
    return rows


def _memory(main: Sequence[Measured]) -> list[Row]:
    """Return how the node's memory went over all its runs, in the order in which they were."""
    usages = sorted((u for m in main for u in m.usages), key=lambda u: u.ended_s)
    line = slope([u.ended_s for u in usages], [u.rss_mib * 3600 for u in usages])
    return [
        {
            "runs": len(usages),
            "minutes": (usages[-1].ended_s - usages[0].ended_s) / 60,
            "first_mib": usages[0].rss_mib,
            "last_mib": usages[-1].rss_mib,
            "slope_mib_per_h": line.per_s,
            "interval_95_mib_per_h": f"{line.low:.1f} to {line.high:.1f}",
        }
    ]


def _per_second(measured: Measured) -> float:
    spans = [(r.sent_ns[-1] - r.sent_ns[0]) * 1e-9 for r in measured.runs]
    forced = sum(u.switches[1] for u in measured.usages)
    return forced / sum(spans) if sum(spans) > 0 else math.nan


def _setups(bench: NodeBench) -> list[Row]:
    setups = list(dict.fromkeys(m.setup for m in bench.measured))
    rates = [
        {m.hz for m in bench.measured if m.setup == setup and m.phase == QUIET} for setup in setups
    ]
    common = sorted(set.intersection(*rates)) if rates else []
    rows: list[Row] = []
    for measured in bench.measured:
        if measured.phase != QUIET or measured.hz not in common:
            continue
        runs = [figures(run) for run in measured.runs]
        latency = summary(pooled(measured.runs))
        rows.append(
            {
                "transport": measured.setup.transport,
                "executor": measured.setup.executor,
                "middleware": measured.setup.middleware,
                "rate_hz": round(measured.hz, 1),
                "missed": f"{int(sum(r['missed'] for r in runs))} of "
                f"{int(sum(r['sent'] for r in runs))}",
                "p50_ms": latency.get("p50", math.nan),
                "p99_ms": latency.get("p99", math.nan),
                "overhead_p50_ms": _median(runs, "node_overhead_p50"),
                "cpu_percent": spread([u.cpu_percent for u in measured.usages]).median,
            }
        )
    return rows


def _series(measured: Measured) -> dict[str, Any]:
    latencies = np.sort(pooled(measured.runs))
    shares = np.linspace(0, 100, _CURVE_POINTS)
    curve = np.percentile(latencies, shares) if latencies.size else np.zeros(0)
    return {
        "hz": measured.hz,
        "phase": measured.phase,
        "latency_ms_at_percent": [round(float(v), 3) for v in curve],
        "timeline": timeline(measured.runs[0]),
    }


def _ros2(quiet: Sequence[Measured], bench: NodeBench) -> dict[str, Any]:
    sections: dict[str, dict[str, float]] = {}
    for measured in quiet:
        runs = [basic_metrics(r.sent_ns, r.arrived) for r in measured.runs]
        machine = conclude([u.ros2 for u in measured.usages])
        sections[f"{float(measured.hz)}fps"] = {**conclude(runs), **machine}
    top = sections.get(f"{float(bench.peak_hz)}fps") or list(sections.values())[-1]
    metadata = {
        "BenchmarkMetadata.NAME": "semla_ros segmenter node",
        "BenchmarkMetadata.BENCHMARK_MODE": "LOOPING",
        "BenchmarkMetadata.PEAK_THROUGHPUT_PREDICTION": bench.peak_hz,
        "BenchmarkMetadata.INPUT_DATA_HASH": bench.film.sha256,
        "BenchmarkMetadata.DATA_RESOLUTION": "x".join(
            str(n) for n in bench.film.frames[0].shape[1::-1]
        ),
    }
    fixed = {k: v for k, v in sections.items() if k != f"{float(bench.peak_hz)}fps"}
    return {**top, **fixed, "metadata": metadata}


def _shown_rate(measured: Measured, bench: NodeBench) -> str:
    rate = f"{measured.hz:.4g}"
    return f"{rate} (peak)" if measured.hz == bench.peak_hz else rate


def _median(runs: Sequence[Mapping[str, float]], key: str) -> float:
    return spread([run.get(key, math.nan) for run in runs]).median


def _ratio(one: Mapping[str, float], other: Mapping[str, float], key: str) -> float:
    return one[key] / other[key] if key in one and other.get(key) else math.nan
