"""The record of `semla bench swap`."""

from __future__ import annotations

import math

from semla_ros.bench.measures import summary
from semla_ros.bench.record import BenchRecord, Row
from semla_ros.bench.swap_bench import Measures, SwapBench

EQUAL = 1e-3


def swap_record(
    bench: SwapBench, *, title: str, rounds: int, count: int, command: str
) -> BenchRecord:
    """Return one row for each candidate; ratios are to the first one of the same table."""
    first = next(iter(bench.measures.values()))
    rows = [_row(*bench.names[key], each, first) for key, each in bench.measures.items()]
    skipped = [f"{key} was left out: {reason}" for key, reason in bench.skipped.items()]
    mixes = "; ".join(mix.identity for mix in bench.mixes)
    return BenchRecord(
        title,
        command,
        tuple(rows),
        notes=(
            f"One process, {rounds} interleaved rounds; in each every candidate swaps "
            f"{len(bench.mixes)} times undisturbed, then segments {count} frames without and "
            f"{count} frames with swaps. Mixes: {mixes}. All text features are computed anew.",
            "`ready` is from asking for a mix to serving it with nothing else running, also in "
            "processor time, which other programs do not spoil; `frame "
            "waits` is the part of it that frames cannot run beside. What may be prepared aside "
            "is prepared by a niced thread without a pause; the others swap before every other "
            "frame, and `frame swapping` counts the frames that overlap a swap.",
            "`held` is the resident memory that opening the candidate and serving two mixes "
            "added, `peak` what swapping added to that at most, for a moment; what candidates "
            "share (libraries, base weights) is held by the first one.",
            f"`difference` is the largest |logit - logit of the first row| over all mixes: up to "
            f"{EQUAL:g} is rounding of float32; bfloat16 differs by its own rounding.",
            *skipped,
        ),
        extra={"raw": {key: _raw(each) for key, each in bench.measures.items()}},
    )


def _row(name: str, runtime: str, each: Measures, first: Measures) -> Row:
    ready, quiet, during = summary(each.ready_ms), summary(each.quiet_ms), summary(each.during_ms)
    cpu, reference = summary(each.ready_cpu_ms), summary(first.ready_cpu_ms)
    return {
        "way": name,
        "runtime": runtime,
        "ready_p50_ms": ready["p50"],
        "ready_max_ms": ready["max"],
        "ready_processor_ms": cpu["p50"],
        "processor_over_first": cpu["p50"] / reference["p50"],
        "frame_waits_p50_ms": summary(each.stall_ms).get("p50", math.nan),
        "frame_waits_max_ms": summary(each.stall_ms).get("max", math.nan),
        "frame_quiet_p50_ms": quiet["p50"],
        "frame_swapping_p50_ms": during["p50"],
        "swapping_over_quiet": during["p50"] / quiet["p50"],
        "frame_swapping_max_ms": during["max"],
        "swaps_while_frames_flow": each.swaps,
        "held_mib": each.held_mib,
        "peak_mib": each.peak_mib,
        "difference": each.difference,
        "equal": each.difference <= EQUAL,
    }


def _raw(each: Measures) -> dict[str, list[float]]:
    kept = {
        "ready_ms": each.ready_ms,
        "ready_cpu_ms": each.ready_cpu_ms,
        "quiet_ms": each.quiet_ms,
        "during_ms": each.during_ms,
        "stall_ms": each.stall_ms,
    }
    return {name: [round(v, 3) for v in values] for name, values in kept.items()}
