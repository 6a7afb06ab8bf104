"""The record of a soak."""

from __future__ import annotations

from semla_ros.bench.ledger import COMMITTED, FAILED, REQUESTED, SUPERSEDED
from semla_ros.bench.record import BenchRecord, Row
from semla_ros.bench.soak import DWELL, Soak, SoakRequest

_PICTURE_POINTS = 400


def soak_record(request: SoakRequest, soak: Soak, *, command: str) -> BenchRecord:
    """Return what happened as one record; `verdict` says whether it held."""
    first, last, ledger = soak.tenth(0), soak.tenth(9), soak.ledger
    growth = soak.growth
    rows: list[Row] = [
        {"question": "frames", "answer": len(soak.latencies_ms)},
        {"question": "minutes", "answer": soak.seconds / 60},
        {"question": "changes of the weather", "answer": soak.changes},
        {"question": "swaps requested", "answer": ledger.count(REQUESTED)},
        {"question": "of these committed", "answer": ledger.count(COMMITTED)},
        {"question": "of these failed", "answer": ledger.count(FAILED)},
        {"question": "of these superseded", "answer": ledger.count(SUPERSEDED)},
        {"question": "every request ended in one way", "answer": ledger.balanced},
        {"question": "swaps told with the frames", "answer": soak.events},
        {"question": "swaps in the log", "answer": ledger.logged},
        {"question": "A, B, A tried", "answer": soak.probes},
        {"question": "masks that differed from their mix's first", "answer": soak.drifted},
        {"question": "failures by stage", "answer": _faults(soak)},
        {"question": "memory at the start [MiB]", "answer": soak.memory[0][2]},
        {"question": "memory at the end [MiB]", "answer": soak.memory[-1][2]},
        {"question": "growth over the second half [MiB/h]", "answer": growth.per_s},
        {"question": "its 95 % interval", "answer": f"{growth.low:.2f} to {growth.high:.2f}"},
        *(
            {"question": f"{key} of the first and the last tenth [ms]", "answer": pair}
            for key, pair in _pairs(first, last).items()
        ),
        {"question": "no growth, no drift, every swap accounted for", "answer": held(soak)},
    ]
    return BenchRecord(
        f"Soak: weather that never stops changing (engine {soak.engine})",
        command,
        tuple(rows),
        notes=_notes(request),
        extra={
            "memory_mib": _thinned(soak),
            "growth_mib_per_h": [growth.per_s, growth.low, growth.high],
            "verdict": held(soak),
        },
    )


def held(soak: Soak) -> bool:
    """Return whether memory did not certainly grow, no mask drifted and no swap got lost."""
    ledger = soak.ledger
    ended = ledger.count(COMMITTED) + ledger.count(FAILED)
    told = ended == soak.events == ledger.logged
    return not soak.growth.grows and not soak.drifted and ledger.balanced and told


def _pairs(first: dict[str, float], last: dict[str, float]) -> dict[str, str]:
    keys = [key for key in ("p50", "p95", "p99", "max") if key in first and key in last]
    return {key: f"{first[key]:.1f} and {last[key]:.1f}" for key in keys}


def _faults(soak: Soak) -> str:
    return ", ".join(f"{stage}: {n}" for stage, n in soak.errors.items() if n) or "none"


def _thinned(soak: Soak) -> list[list[float]]:
    step = max(1, len(soak.memory) // _PICTURE_POINTS)
    return [[frames, round(mib, 2)] for frames, _, mib in soak.memory[::step]]


def _notes(request: SoakRequest) -> tuple[str, ...]:
    return (
        f"Frames of {request.size[1]}x{request.size[0]} from the demo world, one after the other "
        f"without a pause, another weather every {DWELL} frames; navigator and swaps in the "
        "background, as on a robot.",
        "Memory is judged over the second half, when the caches of adapters, text features and "
        "recent mixes are full; the interval is that of a line through the means of 20 "
        "stretches. The picture shows all of it.",
        "Latencies are of the pipeline's step, without ROS.",
        "Requests are counted where they are made, outcomes where they are answered, and both are "
        "compared with the swaps that came with the frames and with the log.",
    )
