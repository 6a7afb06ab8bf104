"""`semla bench swap`: ways to serve another mix, side by side, interleaved in one process."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from semla_ros.bench.candidate_openvino import CompiledAnew
from semla_ros.bench.candidate_peft import PeftMerged, PeftUnmerged
from semla_ros.bench.candidates import Candidate, HotLoading, Material, SessionAnew
from semla_ros.bench.frames import film
from semla_ros.bench.made_bundle import BUNDLE, VIT_B, bundle_of
from semla_ros.bench.measures import summary
from semla_ros.bench.record import BenchRecord, Row
from semla_ros.bench.swap_session import Measures, SwapSession
from semla_ros.core.errors import ConfigError, EvaluationError
from semla_ros.core.types import AdapterMix, UInt8Array
from semla_ros.library.storage import read_adapter

EQUAL = 1e-3
_MOST_ADAPTERS = 3

CANDIDATES: Mapping[str, Callable[[Material], Candidate]] = {
    "semla-onnx": lambda material: HotLoading(material, engine="onnx"),
    "semla-torch": lambda material: HotLoading(material, engine="torch"),
    "semla-openvino": lambda material: HotLoading(material, engine="openvino"),
    "peft-cat": PeftUnmerged,
    "peft-merge": PeftMerged,
    "onnx-anew": SessionAnew,
    "openvino-anew": CompiledAnew,
}


@dataclass(frozen=True, slots=True)
class SwapRequest:
    """What `semla bench swap` was asked for.

    Attributes:
        bundle: Model bundle, None for the demo bundle.
        shapes: `bundle`, or `vit-b` for a network of the published size with random weights.
        rounds: How often each candidate has its turn.
        frames: Frames without, and frames with swaps, in one turn.
        keys: Of `CANDIDATES`; the first one is what the others' logits are compared with.
        threads: CPU threads; 0: all cores but one.
    """

    bundle: Path | None = None
    shapes: str = BUNDLE
    rounds: int = 5
    frames: int = 30
    keys: Sequence[str] = tuple(CANDIDATES)
    threads: int = 0

    def __post_init__(self) -> None:
        unknown = [key for key in self.keys if key not in CANDIDATES]
        if unknown:
            raise ConfigError(f"expected candidates of {tuple(CANDIDATES)!r}, got {unknown!r}")
        if self.rounds < 1 or self.frames < 2 or self.shapes not in (BUNDLE, VIT_B):
            raise ConfigError(
                "expected rounds >= 1, frames >= 2 and shapes 'bundle' or 'vit-b', got "
                f"{self.rounds!r}, {self.frames!r} and {self.shapes!r}"
            )


def run_swaps(request: SwapRequest, *, command: str) -> BenchRecord:
    """Return the record of all candidates.

    Raises:
        SemlaError: No bundle, or no candidate can be opened.
    """
    with bundle_of(request.shapes, request.bundle) as bundle:
        folders = sorted(p for p in bundle.library.iterdir() if p.is_dir())[:_MOST_ADAPTERS]
        adapters = {folder.name: read_adapter(folder, name=folder.name) for folder in folders}
        material = Material(bundle, adapters, request.threads)
        return compared(request, material, film().frames, command=command)


def compared(
    request: SwapRequest, material: Material, frames: Sequence[UInt8Array], *, command: str
) -> BenchRecord:
    """Return one row for each candidate; ratios are to the first one of the same table.

    Every candidate stays open, except with `vit-b`: there each is opened for its turn and closed
    again, which needs the memory of one.

    Raises:
        EvaluationError: Fewer than two adapters, or no candidate can be opened.
    """
    session = SwapSession(
        CANDIDATES, material, frames, _mixes(tuple(material.adapters)), request.frames
    )
    try:
        for key in tqdm([*request.keys] * request.rounds, desc="swap", unit="turn"):
            session.turn(key)
            if request.shapes == VIT_B:
                session.close()
    finally:
        session.close()
    if not session.names:
        raise EvaluationError(f"expected one candidate at least, refused were {session.skipped}")
    measures = {key: session.measures[key] for key in session.names}
    first = next(iter(measures.values()))
    return BenchRecord(
        f"Swapping adapters, side by side ({material.bundle.manifest.name})",
        command,
        tuple(_row(*session.names[key], each, first) for key, each in measures.items()),
        notes=_notes(request, session.mixes, session.skipped),
    )


def _row(name: str, runtime: str, each: Measures, first: Measures) -> Row:
    ready, quiet, during = summary(each.ready_ms), summary(each.quiet_ms), summary(each.during_ms)
    cpu_ms, stall = summary(each.ready_cpu_ms)["p50"], summary(each.stall_ms)
    return {
        "way": name,
        "runtime": runtime,
        "ready_p50_ms": ready["p50"],
        "ready_max_ms": ready["max"],
        "ready_processor_ms": cpu_ms,
        "processor_over_first": cpu_ms / summary(first.ready_cpu_ms)["p50"],
        "frame_waits_p50_ms": stall.get("p50", math.nan),
        "frame_waits_max_ms": stall.get("max", math.nan),
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


def _notes(
    request: SwapRequest, mixes: Sequence[AdapterMix], skipped: Mapping[str, str]
) -> tuple[str, ...]:
    told = "; ".join(mix.identity for mix in mixes)
    return (
        f"One process, {request.rounds} interleaved rounds; in each every candidate swaps "
        f"{len(mixes)} times undisturbed, then segments {request.frames} frames without and "
        f"{request.frames} frames with swaps. Mixes: {told}. All text features are computed anew.",
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
        *(f"{key} was left out: {reason}" for key, reason in skipped.items()),
    )


def _mixes(names: Sequence[str]) -> tuple[AdapterMix, ...]:
    if len(names) < 2:
        raise EvaluationError(f"expected two adapters or more, got {tuple(names)!r}")
    one, other = names[:2]
    blend = {name: 1.0 / (rank + 1) for rank, name in enumerate(names[:_MOST_ADAPTERS])}
    return (
        AdapterMix.from_weights({one: 1.0}),
        AdapterMix.from_weights(blend),
        AdapterMix.from_weights({other: 1.0}),
    )
