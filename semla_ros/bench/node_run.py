"""From the stopwatch's record of one run to its figures; pure, so synthetic stamps test it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from semla_ros.bench.measures import jitter, summary
from semla_ros.core.types import Float64Array

LATE_MS = 100.0
STALL_MS = 1.0
HANDOVER_MS = 1.0
_MS = 1e-6
_DECISION = "domain"


@dataclass(frozen=True, slots=True, eq=False)
class NodeRun:
    """One run.

    Attributes:
        sent_ns: Stamps: when each frame was due, in the order of sending.
        arrived: Stamp -> when its mask came, ns.
        stages: Stamp -> stage -> ms, for the frames whose stages came.
        swaps: As the node published them.
        orders: Start ns, end ns, success and message of every mix that was pinned.
        dropped_by_node: Frames replaced in the node's mailbox by a newer one.
        player_late_ms: How much later than its stamp each frame was published.
        repeated: Masks beyond the first one of a stamp.
        reordered: Masks that came after the mask of a newer frame.
    """

    sent_ns: tuple[int, ...]
    arrived: Mapping[int, int]
    stages: Mapping[int, Mapping[str, float]]
    swaps: tuple[Mapping[str, Any], ...]
    orders: tuple[tuple[int, int, bool, str], ...]
    dropped_by_node: int
    player_late_ms: tuple[float, ...]
    repeated: int
    reordered: int

    @property
    def latency_ms(self) -> Float64Array:
        """From the moment an image was due to the arrival of its mask, in the order of sending."""
        found = [self.arrived[s] - s for s in self.sent_ns if s in self.arrived]
        return np.array(found, np.float64) * _MS


def run_of(record: Mapping[str, Any]) -> NodeRun:
    """Return the run in a stopwatch's `record`; answers to other frames are left out."""
    sent = tuple(int(s) for s in record["sent_ns"])
    known = set(sent)
    arrived: dict[int, int] = {}
    repeated = reordered = 0
    newest = 0
    for stamp, when in record["masks"]:
        if stamp not in known:
            continue
        repeated += stamp in arrived
        reordered += stamp < newest
        newest = max(newest, stamp)
        arrived.setdefault(int(stamp), int(when))
    stages = {int(stamp): values for stamp, values in record["stages"] if stamp in known}
    return NodeRun(
        sent,
        arrived,
        stages,
        tuple(record["swaps"]),
        tuple((int(a), int(b), bool(ok), str(text)) for a, b, ok, text in record["orders"]),
        int(record["dropped_by_node"]),
        tuple(record["late_ms"]),
        repeated,
        reordered,
    )


def stale_frames(run: NodeRun) -> int:
    """Return how many masks were begun although a newer frame had been in the node's hands.

    The node says for each mask how long a newer image had been waiting when its own was begun;
    up to `HANDOVER_MS` that is the moment between taking an image and beginning. Masks that came
    twice or out of order count as well. Must be 0.
    """
    begun = sum(s.get("superseded", 0.0) > HANDOVER_MS for s in run.stages.values())
    return begun + run.repeated + run.reordered


def figures(run: NodeRun) -> dict[str, float]:
    """Return the figures of one run, ms unless they count; what nothing is known of is missing."""
    stages = run.stages.values()
    ages = [s["age_at_publish"] for s in stages if "age_at_publish" in s]
    arrivals = np.sort(np.array(list(run.arrived.values()), np.float64)) * _MS
    commits = [s.get("commit", 0.0) for s in stages]
    committed = [swap for swap in run.swaps if swap["committed"]]
    timed = {
        "latency_p50": summary(run.latency_ms).get("p50"),
        "age_p50": summary(ages).get("p50"),
        "jitter_mean": summary(jitter(arrivals)).get("mean"),
        "node_overhead_p50": summary(overheads(run)).get("p50"),
        "player_late_p50": summary(run.player_late_ms).get("p50"),
    }
    return {
        "sent": len(run.sent_ns),
        "answered": len(run.arrived),
        "missed": len(run.sent_ns) - len(run.arrived),
        "dropped_by_node": run.dropped_by_node,
        "stale": stale_frames(run),
        "late": sum(age > LATE_MS for age in ages),
        "swaps": len(committed),
        "failed_swaps": len(run.swaps) - len(committed),
        "domain_swaps": sum(swap["reason"] == _DECISION for swap in committed),
        "stalled": sum(ms > STALL_MS for ms in commits),
        "stall_max": max([*commits, *(s["stall_ms"] for s in committed)], default=0.0),
        **{name: ms for name, ms in timed.items() if ms is not None},
    }


def keeps_up(run: NodeRun, *, loss: float) -> bool:
    """Return whether at most `loss` of the frames are missed, and no lag grows.

    The rate of the masks may fall behind that of the images by the allowed loss and one frame:
    ros2_benchmark's 5 to 10 Hz are no bound for a network of some ten frames a second.
    """
    sent, came = len(run.sent_ns), sorted(run.arrived.values())
    if sent - len(came) > math.floor(sent * loss) or len(came) < 2:
        return False
    played_hz = sent / max(run.sent_ns[-1] - run.sent_ns[0], 1)
    return len(came) / (came[-1] - came[0]) >= played_hz * (1 - loss - 1 / sent)


def overheads(run: NodeRun) -> list[float]:
    """Return, for each frame, its latency less its own time in the network, ms."""
    return [
        (run.arrived[stamp] - stamp) * _MS - values["infer"]
        for stamp, values in run.stages.items()
        if stamp in run.arrived and "infer" in values
    ]


def stage_split(run: NodeRun) -> dict[str, dict[str, float]]:
    """Return stage -> summary of its ms; `return` is from publication to the mask's arrival."""
    split: dict[str, list[float]] = {}
    for stamp, values in run.stages.items():
        for name, ms in values.items():
            split.setdefault(name, []).append(ms)
        if stamp in run.arrived and "age_at_publish" in values:
            back = (run.arrived[stamp] - stamp) * _MS - values["age_at_publish"]
            split.setdefault("return", []).append(back)
    return {name: summary(values) for name, values in split.items()}


def timeline(run: NodeRun) -> dict[str, list[float]]:
    """Return seconds since the first frame with latency in ms, and the seconds of the swaps."""
    first = run.sent_ns[0] if run.sent_ns else 0
    came = [stamp for stamp in run.sent_ns if stamp in run.arrived]
    committed = [swap["stamp_ns"] for swap in run.swaps if swap["committed"]]
    return {
        "seconds": [round((s - first) * 1e-9, 4) for s in came],
        "latency_ms": [round((run.arrived[s] - s) * _MS, 3) for s in came],
        "swap_seconds": [round((s - first) * 1e-9, 4) for s in committed if s >= first],
    }


def pooled(runs: Sequence[NodeRun]) -> Float64Array:
    """Return the latencies of all runs."""
    return np.concatenate([run.latency_ms for run in runs]) if runs else np.zeros(0)
