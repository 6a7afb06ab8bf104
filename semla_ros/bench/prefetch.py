"""Does looking ahead pay? The demo drive in real time, with and without prefetching.

`python -m semla_ros.bench.prefetch` prints JSON. Frames come at the pace of their stamps,
navigator and swaps run in the background, as in the node; only ROS is left out.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from semla_ros.answers import FRESH, PREFETCHED, RECURRING, SwapEvent
from semla_ros.bench.machine import machine_facts
from semla_ros.bench.measures import summary
from semla_ros.config import Config
from semla_ros.demo.footage import FRAME_ID, demo_drive
from semla_ros.pipeline.adaptive import AdaptivePipeline
from semla_ros.pipeline.assembly import open_parts
from semla_ros.timing import now_ms
from semla_ros.types import AdapterMix, Frame

_MS_TO_S = 1e-3
_NS_TO_MS = 1e-6


def drive_frames(*, seconds: float, fps: float, laps: int) -> list[Frame]:
    """Return the demo drive, `laps` times in a row, the stamps going on."""
    drive = demo_drive(seconds=seconds, fps=fps)
    lap = [Frame(s.stamp_ns, FRAME_ID, s.image.rgb) for s in map(drive.frame, range(len(drive)))]
    length_ns = round(len(lap) * 1e9 / fps)
    return [replace(f, stamp_ns=f.stamp_ns + n * length_ns) for n in range(laps) for f in lap]


def play(frames: Sequence[Frame], config: Config) -> dict[str, Any]:
    """Return what the swaps of a run over `frames` were like; takes as long as the frames do."""
    parts = open_parts(config)
    events: list[SwapEvent] = []
    steps: list[float] = []
    guesses: list[AdapterMix] = []
    with AdaptivePipeline(parts, config) as pipeline:
        offset = now_ms() - frames[0].stamp_ns * _NS_TO_MS
        for frame in frames:
            wait_ms = frame.stamp_ns * _NS_TO_MS + offset - now_ms()
            time.sleep(max(0.0, wait_ms * _MS_TO_S))
            started = now_ms()
            events.extend(pipeline.step(frame).swaps)
            steps.append(now_ms() - started)
            spare = parts.swapper.spare
            if spare is not None and (not guesses or guesses[-1] != spare):
                guesses.append(spare)
    return _figures(events, steps, guesses=len(guesses))


def _figures(
    events: Sequence[SwapEvent], steps: Sequence[float], *, guesses: int
) -> dict[str, Any]:
    domain = [e for e in events if e.reason == "domain" and e.committed]
    origins = Counter(e.origin for e in domain)
    hits = origins[PREFETCHED]
    return {
        "swaps": len(domain),
        "failed": sum(not e.committed for e in events),
        **{name: origins[name] for name in (FRESH, RECURRING, PREFETCHED)},
        "hit_rate": hits / len(domain) if domain else None,
        "lay_ready": sum(e.origin == PREFETCHED and e.ready_ms == 0 for e in domain),
        "guesses": guesses,
        "ready_ms": summary([e.ready_ms for e in domain]),
        "prepare_ms": summary([e.fuse_ms + e.load_ms for e in domain]),
        "stall_ms": summary([e.stall_ms for e in domain]),
        "deviation": summary([e.deviation for e in domain if e.origin != FRESH]),
        "step_ms": summary(steps),
    }


def run(*, seconds: float, fps: float, laps: int, config: Config) -> dict[str, Any]:
    """Return the figures of both runs and where they were taken."""
    frames = drive_frames(seconds=seconds, fps=fps, laps=laps)
    facts = machine_facts()
    return {
        "machine": facts,
        "drive": {"seconds": seconds, "fps": fps, "laps": laps, "frames": len(frames)},
        "engine": config.engine,
        "tolerance": config.prefetch_tolerance,
        "without": play(frames, replace(config, prefetch=False)),
        "with": play(frames, replace(config, prefetch=True)),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="prefetching on the demo drive")
    parser.add_argument("--seconds", type=float, default=60.0, help="of one lap")
    parser.add_argument("--fps", type=float, default=5.0)
    parser.add_argument("--laps", type=int, default=2)
    parser.add_argument("--bundle", type=Path, default=None, help="default: the demo bundle")
    parser.add_argument("--engine", default="onnx")
    return parser.parse_args()


if __name__ == "__main__":
    given = _arguments()
    chosen = Config(bundle=str(given.bundle or ""), engine=given.engine)
    figures = run(seconds=given.seconds, fps=given.fps, laps=given.laps, config=chosen)
    json.dump(figures, sys.stdout, indent=1)
    sys.stdout.write("\n")
