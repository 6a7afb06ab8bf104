"""The record of `semla bench node`: tables, notes and the series behind the pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from semla_ros.bench.measures import slope, spread, summary
from semla_ros.bench.node_bench import QUIET, SWAPPING, Measured, NodeBench, NodeBenchRequest
from semla_ros.bench.node_run import (
    HANDOVER_MS,
    LATE_MS,
    STALL_MS,
    figures,
    overheads,
    pooled,
    stage_split,
    timeline,
)
from semla_ros.bench.record import BenchRecord, Row

_CURVE_POINTS = 101


def node_record(request: NodeBenchRequest, bench: NodeBench, *, command: str) -> BenchRecord:
    """Return everything that was measured as one record."""
    first = request.setups[0]
    main = [m for m in bench.measured if m.setup == first]
    quiet = {m.hz: m for m in main if m.phase == QUIET}
    swaps = [_swaps(m, quiet.get(m.hz)) for m in main if m.phase == SWAPPING]
    tables = {
        "Where the time of a frame goes (p50 over all frames, ms)": list(
            map(_stages, quiet.values())
        ),
        "Swapping without a pause against quiet": swaps,
        "What the node uses": [_resources(m) for m in main],
        "Memory of the node over all its runs": _memory(main),
        "Transports and executors": _setups(bench),
    }
    return BenchRecord(
        f"The live node over ROS 2 (engine {bench.engine}, {first})",
        command,
        tuple(_row(m, bench) for m in main),
        notes=_notes(request, bench),
        extra={
            "tables": [{"title": title, "rows": rows} for title, rows in tables.items()],
            "series": [_series(m) for m in main],
            "peak": {"hz": bench.peak_hz, "probes": [list(p) for p in bench.probes]},
        },
    )


def _row(measured: Measured, bench: NodeBench) -> Row:
    runs = [figures(run) for run in measured.runs]
    latency = summary(pooled(measured.runs))
    over = spread([each.get("latency_p50", math.nan) for each in runs])
    relay = bench.relayed.get(measured.hz) if measured.phase == QUIET else None
    peak = " (peak)" if measured.hz == bench.peak_hz else ""
    return {
        "rate_hz": f"{measured.hz:.4g}{peak}",
        "phase": measured.phase,
        **{key: _sum(runs, key) for key in ("sent", "missed", "stale")},
        "p50_ms": latency.get("p50", math.nan),
        "p50_repeats": f"{over.low:.1f} to {over.high:.1f}",
        **{f"{key}_ms": latency.get(key, math.nan) for key in ("p95", "p99", "max")},
        "age_p50_ms": _median(runs, "age_p50"),
        "jitter_mean_ms": _median(runs, "jitter_mean"),
        # the least of any frame: what other programs have not spoiled
        "overhead_least_ms": min(chain(*map(overheads, measured.runs)), default=math.nan),
        "overhead_p50_ms": _median(runs, "node_overhead_p50"),
        "over_bare_p50_ms": _over_bare(measured),
        "relay_p50_ms": summary(relay.latency_ms).get("p50", math.nan) if relay else None,
    }


def _over_bare(measured: Measured) -> float:
    """Return p50 of the latency less p50 of the network alone, median over repeats."""
    differences = [
        summary(run.latency_ms)["p50"] - summary(alone)["p50"]
        for run, alone in zip(measured.runs, measured.bare_ms, strict=True)
        if alone and len(run.latency_ms)
    ]
    return spread(differences).median


def _stages(measured: Measured) -> Row:
    splits = [stage_split(run) for run in measured.runs]
    names = list(dict.fromkeys(chain(*splits)))
    medians = {n: spread([s[n]["p50"] for s in splits if n in s]).median for n in names}
    return {"rate_hz": round(measured.hz, 1), **medians}


def _swaps(measured: Measured, quiet: Measured | None) -> Row:
    runs = [figures(run) for run in measured.runs]
    calm = quiet.runs if quiet else ()
    busy, still = summary(pooled(measured.runs)), summary(pooled(calm))
    orders = [(b - a) * 1e-6 for run in measured.runs for a, b, ok, _ in run.orders if ok]
    made = [s["fuse_ms"] + s["load_ms"] for r in measured.runs for s in r.swaps if s["committed"]]
    timed = {"order_to_service": summary(orders), "prepare": summary(made)}
    ratios = {
        f"frame_{key}_over_quiet": busy[key] / still[key]
        if key in busy and still.get(key)
        else math.nan
        for key in ("p50", "p99")
    }
    return {
        "rate_hz": round(measured.hz, 1),
        "swaps": _sum(runs, "swaps"),
        "failed": _sum(runs, "failed_swaps"),
        **{
            f"{name}_{key}_ms": found.get(key, math.nan)
            for name, found in timed.items()
            for key in ("p50", "p99")
        },
        **ratios,
        "stall_max_ms": max((r["stall_max"] for r in runs), default=math.nan),
        "frames_stalled": _sum(runs, "stalled"),
        "of_frames": _sum(runs, "answered"),
        "stalled_while_quiet": _sum([figures(run) for run in calm], "stalled"),
    }


def _resources(measured: Measured) -> Row:
    runs, usages = [figures(r) for r in measured.runs], measured.usages
    seconds = sum((r.sent_ns[-1] - r.sent_ns[0]) * 1e-9 for r in measured.runs)
    return {
        "rate_hz": round(measured.hz, 1),
        "phase": measured.phase,
        "cpu_percent": spread([u.cpu_percent for u in usages]).median,
        "rss_mib": max(u.rss_mib for u in usages),
        "threads": max(u.threads for u in usages),
        "forced_switches_per_s": sum(u.forced for u in usages) / seconds if seconds else math.nan,
        "player_late_p50_ms": _median(runs, "player_late_p50"),
        "dropped_by_node": _sum(runs, "dropped_by_node"),
        "older_than_100_ms": _sum(runs, "late"),
        "false_swaps": _sum(runs, "domain_swaps") if measured.phase == QUIET else None,
    }


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


def _setups(bench: NodeBench) -> list[Row]:
    """Return the quiet runs at the rates that every setup had."""
    quiet = [m for m in bench.measured if m.phase == QUIET]
    rates = [{m.hz for m in quiet if m.setup == setup} for setup in {m.setup for m in quiet}]
    common = set.intersection(*rates) if rates else set()
    rows: list[Row] = []
    for measured in (m for m in quiet if m.hz in common):
        runs = [figures(run) for run in measured.runs]
        latency = summary(pooled(measured.runs))
        rows.append(
            {
                "transport": measured.setup.transport,
                "executor": measured.setup.executor,
                "middleware": measured.setup.middleware,
                "rate_hz": round(measured.hz, 1),
                "missed": f"{_sum(runs, 'missed')} of {_sum(runs, 'sent')}",
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


def _median(runs: Sequence[Mapping[str, float]], key: str) -> float:
    return spread([run.get(key, math.nan) for run in runs]).median


def _sum(runs: Sequence[Mapping[str, float]], key: str) -> int:
    return int(sum(run[key] for run in runs))


_ON_EVENTS = (
    "`events`, rclpy's experimental executor, ends the process where a publisher is destroyed "
    "while one of its events waits (rclpy issue 1644), as a lifecycle cleanup can: it is not "
    "the default. The stopwatch, which destroys nothing, uses it where there is one."
)
_ON_MIDDLEWARE = (
    "A camera is best effort: what the middleware loses stays lost (column `missed`). The "
    "package's profile gives Fast DDS 32 MiB of shared memory instead of 0.5, less than one "
    "raw image of this size. Where the profile cannot be set, a reliable subscription "
    "(`qos_overrides.<topic>.subscription.reliability: reliable`) asks again for what is lost."
)


def _notes(request: NodeBenchRequest, bench: NodeBench) -> tuple[str, ...]:
    """Return how the figures were taken and what they mean."""
    runs = [run for m in bench.measured for run in m.runs]
    on_peak = (
        f"The peak is the highest rate at which at most {request.loss:.0%} of the frames are "
        "lost, found by bisection until the interval is 3 % of the rate; runs there are as long "
        "as the others."
    )
    return (
        f"Played: {bench.film.source} (sha256 {bench.film.sha256[:12]}), {request.seconds:g} s "
        f"a run, {request.repeats} repeats, interleaved; percentiles are over all frames of all "
        "repeats, nothing is trimmed.",
        "Latency is from when an image is due to the arrival of its mask in another process, "
        "matched by header stamp; `overhead` is that less the frame's own time in the network, "
        "`over_bare` is p50 less p50 of the network alone in a process without ROS at the same "
        "pace. `relay` is the p50 of a process that answers each image at once with an empty mask "
        "of its size: what two messages of that size and the stopwatch take by themselves; it is "
        "part of the overhead and not taken off.",
        f"Stale are masks that were begun while a newer image had been waiting for over "
        f"{HANDOVER_MS:g} ms, came twice or out of order; masks older than {LATE_MS:g} ms at "
        "publication are counted beside.",
        f"A frame is stalled by a swap if the frame loop waited over {STALL_MS:g} ms for the "
        "commit (a busy machine can do that to any frame: compare with those while quiet); while "
        "swapping, mixes are pinned in turns, each once the one before serves.",
        "CPU is in percent of one core; the processor is that of the whole node, navigator and "
        "swaps included.",
        "False swaps are swaps of the node's own accord while one weather is played.",
        *((_ON_EVENTS,) if any(s.executor == "events" for s in request.setups) else ()),
        *((_ON_MIDDLEWARE,) if any(s.middleware != "shm" for s in request.setups) else ()),
        *((on_peak,) if request.peak else ()),
        f"{len(runs)} runs, {sum(len(r.sent_ns) for r in runs)} frames in all.",
    )
