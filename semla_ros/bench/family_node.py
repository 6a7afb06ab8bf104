"""A closed network through the live node: how many frames a second, quiet and swapping."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2

from semla_ros.bench.measures import summary
from semla_ros.bench.node_bench import Measured, NodeBenchRequest, run_node_bench
from semla_ros.bench.node_run import figures
from semla_ros.bench.record import Row
from semla_ros.bundle import ModelBundle
from semla_ros.core.engines import AUTO
from semla_ros.demo.world import Drive

_FRAMES, _WEATHER = 12, "rain-night"


def node_rows(
    bundle: ModelBundle, engines: Sequence[str], *, threads: int, seconds: float, scratch: Path
) -> list[Row]:
    """Return a row for each engine and phase, at the highest rate that the node keeps up.

    Args:
        bundle: With two adapters at least; else nothing is swapped.
        engines: `name` or `name:precision`.
        threads: CPU threads of the engine; 0: all cores but one.
        seconds: Length of a run.
        scratch: For frames and logs.

    Raises:
        SemlaError: ROS 2 is missing, or the node does not come up.
    """
    frames = scratch / "frames"
    _render(frames, bundle.manifest.segmentation.shape)
    return [
        row
        for text in engines
        for row in _rows(text, bundle, frames, threads=threads, seconds=seconds, scratch=scratch)
    ]


def _rows(
    text: str, bundle: ModelBundle, frames: Path, *, threads: int, seconds: float, scratch: Path
) -> Iterator[Row]:
    name, _, precision = text.partition(":")
    changes: dict[str, object] = {
        "bundle": str(bundle.root),
        "engine": name,
        "precision": precision or AUTO,
        "threads": threads,
    }
    request = NodeBenchRequest(
        rates=(), seconds=seconds, repeats=1, source=frames, changes=changes
    )
    logs = scratch / text.replace(":", "-")
    logs.mkdir()
    found = run_node_bench(request, logs=logs).measured
    if not found:
        yield {"engine": text, "phase": f"no rate is kept up that {seconds:g} s could tell"}
    for measured in found:
        yield _row(text, measured, seconds=seconds)


def _row(text: str, measured: Measured, *, seconds: float) -> Row:
    (run,) = measured.runs
    found, latency = figures(run), summary(run.latency_ms)
    return {
        "engine": text,
        "phase": measured.phase,
        "played_hz": measured.hz,
        "masks_hz": found["answered"] / seconds,
        "p50_ms": latency.get("p50", float("nan")),
        "p99_ms": latency.get("p99", float("nan")),
        "swaps": found["swaps"],
        "stalled": found["stalled"],
        "stall_max_ms": found["stall_max"],
    }


def _render(folder: Path, size: tuple[int, int]) -> None:
    """Write frames of the demo world at the network's own size."""
    folder.mkdir()
    drive = Drive(2026, fps=2.0, segments=((_WEATHER, _FRAMES / 2.0),), size=size)
    for i in range(_FRAMES):
        cv2.imwrite(str(folder / f"{i:02d}.png"), drive.frame(i).image.rgb[..., ::-1])
