"""ros2_benchmark's figures under its own keys, so that results lie side by side.

Source: NVIDIA-ISAAC-ROS/ros2_benchmark, `BasicPerformanceMetrics`. Two differences, both against
flattery: nothing is trimmed over repeats (there: best and worst are removed), and latencies are
matched by header stamp, frame by frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from semla_ros.bench.measures import jitter

PREFIX = "BasicPerformanceMetrics."
_NS_TO_MS = 1e-6

_WORST: Mapping[str, Callable[[Sequence[float]], float]] = {
    "MAX_LATENCY": max,
    "MIN_LATENCY": min,
    "MAX_JITTER": max,
    "MIN_JITTER": min,
}


def basic_metrics(sent_ns: Sequence[int], arrived: Mapping[int, int]) -> dict[str, float]:
    """Return the metrics of one run, keyed as ros2_benchmark keys its JSON.

    Args:
        sent_ns: When each frame was published, which is also its stamp.
        arrived: Stamp -> when its answer came, ns.
    """
    times = np.sort(np.array(list(arrived.values()), np.float64)) * _NS_TO_MS
    latencies = [(arrived[s] - s) * _NS_TO_MS for s in sent_ns if s in arrived]
    found: dict[str, float] = {
        "NUM_FRAMES_SENT": len(sent_ns),
        "NUM_MISSED_FRAMES": len(sent_ns) - len(latencies),
    }
    if len(sent_ns) > 1:
        found["MEAN_PLAYBACK_FRAME_RATE"] = _rate(len(sent_ns), (sent_ns[-1] - sent_ns[0]) * 1e-6)
    if latencies:
        found |= {
            "RECEIVED_DURATION": float(times[-1] - times[0]),
            "FIRST_SENT_RECEIVED_LATENCY": float(times[0]) - sent_ns[0] * _NS_TO_MS,
            "LAST_SENT_RECEIVED_LATENCY": float(times[-1]) - sent_ns[-1] * _NS_TO_MS,
            "FIRST_INPUT_LATENCY": latencies[0],
            "LAST_INPUT_LATENCY": latencies[-1],
            "MAX_LATENCY": max(latencies),
            "MIN_LATENCY": min(latencies),
            "MEAN_LATENCY": sum(latencies) / len(latencies),
        }
        if times[-1] > times[0]:
            found["MEAN_FRAME_RATE"] = _rate(len(times), float(times[-1] - times[0]))
    shaken = jitter(times)
    if shaken.size:
        found |= {
            "MAX_JITTER": float(shaken.max()),
            "MIN_JITTER": float(shaken.min()),
            "MEAN_JITTER": float(shaken.mean()),
            "STD_DEV_JITTER": float(shaken.std()),
        }
    return {PREFIX + name: value for name, value in found.items()}


def conclude(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the metrics over repeats: the extremes of extremes, the means of the rest."""
    keys = [key for key in runs[0] if all(key in run for run in runs)] if runs else []
    return {
        key: _WORST.get(key.removeprefix(PREFIX), _mean)([run[key] for run in runs])
        for key in keys
    }


def sustainable(metrics: Mapping[str, float], *, loss: float) -> bool:
    """Return whether a run kept up: at most `loss` of the frames missed, and no growing lag.

    ros2_benchmark also allows the answers to come 5 to 10 Hz slower than the frames, which for
    networks of some ten frames a second is no bound at all: here the rate may fall behind by the
    allowed loss and one frame.
    """
    sent, missed = metrics[PREFIX + "NUM_FRAMES_SENT"], metrics[PREFIX + "NUM_MISSED_FRAMES"]
    came = metrics.get(PREFIX + "MEAN_FRAME_RATE", 0.0)
    played = metrics.get(PREFIX + "MEAN_PLAYBACK_FRAME_RATE", math.inf)
    return missed <= math.floor(sent * loss) and came >= played * (1 - loss - 1 / max(sent, 1))


def _rate(frames: int, milliseconds: float) -> float:
    """Return frames per second as ros2_benchmark counts: frames, not intervals."""
    return frames / (milliseconds * 1e-3) if milliseconds > 0 else math.inf


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
