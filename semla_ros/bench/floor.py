"""How far a frame is from what this processor can do: matrix products over measured peak.

The floor of a frame is the longer of two times: its multiplications at the rate of one large
product of the same precision, and its weights at the rate at which memory is copied. Everything
an engine does beside (normalising, reshaping, packing weights that may change) is above it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from semla_ros.bench.made_bundle import BUNDLE, VIT_B, bundle_of
from semla_ros.bench.open_engines import open_engines
from semla_ros.bench.record import BenchRecord, Row
from semla_ros.bench.roofline import Processor, Work, least_ms, processor_of, work_of
from semla_ros.bench.turns import in_turns
from semla_ros.bundle import ModelBundle
from semla_ros.bundle.onnx_session import cpu_threads
from semla_ros.core.errors import ConfigError, EngineUnavailableError
from semla_ros.core.types import Float64Array, UInt8Array
from semla_ros.engine import SegmentationEngine
from semla_ros.engine.golden import golden_case
from semla_ros.engine.postprocess import LabelBuffers
from semla_ros.engine.preprocess import InputBuffer

ENGINES: tuple[str, ...] = ("onnx:f32", "openvino:f32", "openvino:bf16", "torch:f32", "torch:bf16")

_CAMERA = (480, 640)
_MS_TO_S = 1e-3
_NOTES = (
    "floor_ms is the longer of gflop / peak_gflops and the weights' bytes / copy_gb_s; "
    "times_floor is network_cpu_ms_min / threads / floor_ms.",
    "Rates and floors are in processor time: other programs on the machine are not in them; "
    "frame_ms is what the clock on the wall says.",
    "gflop counts two for a multiplication and its addition, in matrix products and convolutions.",
    "Engines take turns, frame by frame, in one process; nothing is trimmed.",
)


@dataclass(frozen=True, slots=True)
class FloorRequest:
    """What `semla bench floor` was asked for.

    Attributes:
        bundle: Model bundle, None for the demo bundle.
        shapes: `bundle`, or `vit-b` for a network of the published size with random weights.
        engines: `name` or `name:precision`.
        frames: Frames of each engine, after two that are not counted.
        threads: CPU threads; 0: all cores but one.
    """

    bundle: Path | None = None
    shapes: str = BUNDLE
    engines: Sequence[str] = ENGINES
    frames: int = 20
    threads: int = 0

    def __post_init__(self) -> None:
        if self.frames < 1 or self.shapes not in (BUNDLE, VIT_B) or not self.engines:
            raise ConfigError(
                "expected frames >= 1, shapes 'bundle' or 'vit-b' and an engine, got "
                f"{self.frames!r}, {self.shapes!r} and {self.engines!r}"
            )


class Times(NamedTuple):
    """(R, 2) ms of frames and of the network alone, see `in_turns`."""

    frame: Float64Array
    network: Float64Array


def run_floor(request: FloorRequest, *, command: str) -> BenchRecord:
    """Return the record of every engine that works here; the others are named in the notes.

    Raises:
        EngineUnavailableError: None works, or torch, which counts and measures, is missing.
    """
    threads = cpu_threads(request.threads)
    with ExitStack() as stack:
        bundle = stack.enter_context(bundle_of(request.shapes, request.bundle))
        work, processor = work_of(bundle), processor_of(threads=threads)
        opened, notes = _opened(request, bundle, stack)
        times = _times(opened, bundle, frames=request.frames)
        shares = _shares(bundle)
        rows = [
            _row(name, each, times[name], work, processor, threads=threads)
            for name, each in opened.items()
        ]
        name = bundle.manifest.name
    return BenchRecord(
        title=f"A frame beside the floor of this processor ({name}, {threads} threads)",
        command=command,
        rows=tuple({**row, **shares} for row in rows),
        notes=(*_NOTES, *notes),
        extra={
            "gflop_clip": work.gflop_clip,
            "weight_gb": work.weight_gb,
            "copy_gb_s": processor.copy_gb_s,
        },
    )


def _opened(
    request: FloorRequest, bundle: ModelBundle, stack: ExitStack
) -> tuple[dict[str, SegmentationEngine], list[str]]:
    """Return the engines by `name:precision`, serving, and why others are not there."""
    found, notes = open_engines(request.engines, bundle, threads=request.threads, stack=stack)
    opened: dict[str, SegmentationEngine] = {}
    for engine in found.values():
        if engine.facts.feature_dim is not None:
            weight_set, _ = golden_case(bundle, feature_dim=engine.facts.feature_dim)
            engine.prepare(weight_set)
            engine.commit()
            opened[f"{engine.facts.name}:{engine.facts.precision}"] = engine
    if not opened:
        raise EngineUnavailableError(f"no engine works here: {'; '.join(notes)}")
    return opened, notes


def _times(
    engines: Mapping[str, SegmentationEngine], bundle: ModelBundle, *, frames: int
) -> dict[str, Times]:
    """Return engine -> times from camera image to labels, and of the network alone."""
    camera, size = _camera_image(), bundle.manifest.segmentation.shape
    fitting: UInt8Array = np.ascontiguousarray(np.resize(camera, (*size, 3)))
    ways: dict[str, Callable[[int], object]] = {}
    for name, engine in engines.items():
        ways[f"{name} frame"] = partial(_called, engine.infer, camera)
        ways[f"{name} network"] = partial(_called, engine.logits, fitting)
    taken = in_turns(ways, range(-2, frames), warm_up=2)
    return {name: Times(taken[f"{name} frame"], taken[f"{name} network"]) for name in engines}


def _called(call: Callable[[UInt8Array], object], image: UInt8Array, _: int) -> None:
    call(image)


def _shares(bundle: ModelBundle) -> Row:
    """Return what a frame costs around the network: the least processor time in ms."""
    size, classes = bundle.manifest.segmentation.shape, len(bundle.manifest.vocabulary.names)
    camera, buffer, labels = _camera_image(), InputBuffer(size), LabelBuffers(size)
    logits = np.random.default_rng(0).standard_normal((classes, size[0] // 4, size[1] // 4))
    logits32 = logits.astype(np.float32)
    return {
        "pre_cpu_ms_min": least_ms(lambda: buffer.load(camera)),
        "post_cpu_ms_min": least_ms(lambda: labels.from_logits(logits32)),
    }


def _camera_image() -> UInt8Array:
    return np.random.default_rng(0).integers(0, 256, (*_CAMERA, 3), dtype=np.uint8)


def _row(
    name: str,
    engine: SegmentationEngine,
    times: Times,
    work: Work,
    processor: Processor,
    *,
    threads: int,
) -> Row:
    peak = processor.peak_gflops[engine.facts.precision]
    network = float(times.network[:, 1].min())
    floor = 1e3 * max(work.gflop / peak, work.weight_gb / processor.copy_gb_s)
    return {
        "engine": name,
        "frame_ms_p50": float(np.median(times.frame[:, 0])),
        "frame_ms_min": float(times.frame[:, 0].min()),
        "frame_cpu_ms_p50": float(np.median(times.frame[:, 1])),
        "network_cpu_ms_min": network,
        "gflop": work.gflop,
        "gflops": threads * work.gflop / (_MS_TO_S * network),
        "peak_gflops": peak,
        "floor_ms": floor,
        "times_floor": network / (threads * floor),
    }
