"""Two runs over the same frames in one table: a live one and its replay, or two replays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from semla_ros.core.errors import EvaluationError
from semla_ros.data.metrics import percentiles
from semla_ros.evaluation.files import json_text, write_file
from semla_ros.evaluation.live_result import read_live
from semla_ros.evaluation.result import FrameRecord, ReplayResult, load_result

RESULTS = "results.json"
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two runs have in common.

    Attributes:
        frames: Images of the first and of the second run.
        answered: Masks of the first and of the second run.
        common: Frames with a mask in both, matched by stamp.
        equal_masks: Of these, those whose labels are equal in every pixel.
        mix_difference: Mean and largest total variation between the mixes, 0 to 1.
        swaps: Committed swaps of the first and of the second run.
        latency_ms: p50, p95, p99 of each run: from image to mask of a live one, the step alone of
            a replay.
        added_ms: p50 of the second run less that of the first.
        first_different: Stamps of the first frames whose masks differ, ns.
    """

    frames: tuple[int, int]
    answered: tuple[int, int]
    common: int
    equal_masks: int
    mix_difference: tuple[float, float]
    swaps: tuple[int, int]
    latency_ms: tuple[dict[str, float], dict[str, float]]
    added_ms: float
    first_different: tuple[int, ...]


def compare(first: ReplayResult, second: ReplayResult) -> Comparison:
    """Return how far `second` agrees with `first`, frame by frame.

    Raises:
        EvaluationError: They share no frame, or have other classes.
    """
    ours, theirs = first.info.classes, second.info.classes
    if ours and theirs and ours != theirs:
        raise EvaluationError(
            f"expected two runs with the same classes in the same order, got {ours!r} and "
            f"{theirs!r}: their masks mean other things"
        )
    mine = {frame.stamp_ns: frame for frame in first.frames}
    pairs = [(mine[f.stamp_ns], f) for f in second.frames if f.stamp_ns in mine]
    if not pairs:
        raise EvaluationError(
            "expected two runs over the same frames, got no stamp in common: "
            f"{first.info.source!r} and {second.info.source!r}"
        )
    different = [a.stamp_ns for a, b in pairs if a.mask_crc32 != b.mask_crc32]
    apart = [a.mix.difference(b.mix) for a, b in pairs]
    latency = (_latency(first), _latency(second))
    return Comparison(
        frames=(_frames(first), _frames(second)),
        answered=(len(first.frames), len(second.frames)),
        common=len(pairs),
        equal_masks=len(pairs) - len(different),
        mix_difference=(math.fsum(apart) / len(apart), max(apart)),
        swaps=(_committed(first), _committed(second)),
        latency_ms=latency,
        added_ms=latency[1]["p50"] - latency[0]["p50"],
        first_different=tuple(different[:_SHOWN]),
    )


def read_run(path: Path) -> ReplayResult:
    """Return the run at `path`: a replay's folder or results.json, or a live recording.

    Raises:
        SemlaError: Neither.
    """
    results = path / RESULTS if path.is_dir() else path
    if results.suffix == ".json" and results.is_file():
        return load_result(results)
    return read_live(path)


def comparison_table(comparison: Comparison, names: tuple[str, str]) -> str:
    """Return a Markdown table with one column for each run."""
    c = comparison
    rows = [
        ("images", *c.frames),
        ("masks", *c.answered),
        ("dropped", c.frames[0] - c.answered[0], c.frames[1] - c.answered[1]),
        ("swaps", *c.swaps),
        *(
            (f"latency {p} [ms]", *(f"{each[p]:.1f}" for each in c.latency_ms))
            for p in ("p50", "p95", "p99")
        ),
    ]
    lines = [f"| | {names[0]} | {names[1]} |", "| --- | --- | --- |"]
    lines += [f"| {title} | {one} | {other} |" for title, one, other in rows]
    lines += [
        "",
        f"{c.equal_masks} of {c.common} common frames have equal masks; the mixes differ by "
        f"{c.mix_difference[0]:.3f} in the mean, {c.mix_difference[1]:.3f} at most (total "
        f"variation); {names[1]} takes {c.added_ms:+.1f} ms (p50).",
    ]
    return "\n".join(lines)


def write_comparison(comparison: Comparison, path: Path) -> None:
    """Write `comparison` as JSON.

    Raises:
        EvaluationError: The place cannot be written.
    """
    write_file(path, json_text(comparison))


def _frames(run: ReplayResult) -> int:
    return len(run.frames) + len(run.skipped)


def _committed(run: ReplayResult) -> int:
    return sum(swap.committed for swap in run.swaps)


def _latency(run: ReplayResult) -> dict[str, float]:
    return percentiles(_duration(frame) for frame in run.frames)


def _duration(frame: FrameRecord) -> float:
    timings = frame.timings_ms
    return timings["latency"] if "latency" in timings else timings["step"]
