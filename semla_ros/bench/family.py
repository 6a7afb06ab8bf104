"""A frame of a bundle in every engine, beside the ways people run such a network already."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime

from semla_ros.bench.family_node import node_rows
from semla_ros.bench.made_family import SHAPES, make_family
from semla_ros.bench.open_engines import open_engines
from semla_ros.bench.record import BenchRecord, Row
from semla_ros.bench.turns import in_turns
from semla_ros.bundle import ModelBundle, open_bundle
from semla_ros.bundle.onnx_session import cpu_threads
from semla_ros.core.engines import F32
from semla_ros.core.errors import ConfigError, EngineUnavailableError
from semla_ros.core.executors import BackgroundExecutor
from semla_ros.core.shown import native_path
from semla_ros.core.types import Float32Array, Float64Array, UInt8Array
from semla_ros.core.weights import UNCHANGED, WeightSet
from semla_ros.engine import SegmentationEngine
from semla_ros.engine.golden import golden_case
from semla_ros.engine.openvino_graph import compile_settings, open_core

ENGINES = ("onnx:f32", "openvino:f32", "openvino:bf16")
PLAIN, EAGER = "plain onnx runtime", "transformers eager"
PLAIN_OPENVINO = "plain openvino f32"
_Way = Callable[[UInt8Array], object]
_NOTES = (
    "A frame is a camera image of the network's size to labels; all ways take turns, frame by "
    "frame, in one process; nothing is trimmed.",
    "swapping: the other weight set is prepared in the background while the frame is computed, "
    "and committed after it; its processor time is in the frame's.",
    f"{PLAIN}, {PLAIN_OPENVINO}: the same graph with its weights as constants, enlarged logits, "
    "argmax.",
)


@dataclass(frozen=True, slots=True)
class FamilyRequest:
    """What `semla bench family` was asked for.

    Attributes:
        bundle: A bundle with a closed class list; None: a made one.
        checkpoint: Its checkpoint, for transformers as it is; None: without.
        engines: `name` or `name:precision`.
        frames: Of each way, after two that are not counted.
        threads: CPU threads; 0: all cores but one.
        shape: Of the made bundle, see `made_family`.
        size: (H, W) of its image.
        node_seconds: Length of each run through the live node; 0: none.
    """

    bundle: Path | None
    checkpoint: Path | None = None
    engines: Sequence[str] = ENGINES
    frames: int = 20
    threads: int = 0
    shape: str = ""
    size: tuple[int, int] = (480, 640)
    node_seconds: float = 0.0


def run_family(request: FamilyRequest, *, command: str) -> BenchRecord:
    """Return the record of every way that works here; the others are named in the notes.

    Raises:
        SemlaError: Another kind of bundle, an unusable checkpoint, or no onnx.
    """
    threads = cpu_threads(request.threads)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="semla-bench-")))
        bundle, checkpoint = _subject(request, scratch)
        if bundle.manifest.text is not None or request.frames < 1:
            raise ConfigError("expected a bundle with a closed class list, and frames >= 1")
        height, width = bundle.manifest.segmentation.shape
        ways, notes = _engine_ways(request, bundle, stack)
        ways[PLAIN] = _plain(bundle, threads=threads)
        if any(name.startswith("openvino") for name in ways):
            ways[PLAIN_OPENVINO] = _plain_openvino(bundle, threads=threads)
        if checkpoint is not None:
            ways[EAGER] = _eager(checkpoint, threads=threads)
        rng = np.random.default_rng(0)
        size = (request.frames + 2, height, width, 3)
        taken = in_turns(ways, list(rng.integers(0, 256, size, np.uint8)), warm_up=2)
        running = [name for name in request.engines if name in ways]
        tables = _tables(request, bundle, running, scratch)
    return BenchRecord(
        title=f"A frame of {bundle.manifest.name}, {width}x{height}, {threads} threads",
        command=command,
        rows=tuple(_row(name, spent) for name, spent in taken.items()),
        notes=(*_NOTES, *notes),
        extra={"tables": tables} if tables else {},
    )


def _subject(request: FamilyRequest, scratch: Path) -> tuple[ModelBundle, Path | None]:
    """Return what is measured, and its checkpoint where there is one."""
    if request.bundle is not None:
        return open_bundle(request.bundle), request.checkpoint
    if request.shape not in SHAPES:
        raise ConfigError(
            f"expected a bundle, or a shape of {tuple(SHAPES)!r}, got {request.shape!r}"
        )
    return make_family(scratch / "made", request.shape, request.size)


def _tables(
    request: FamilyRequest, bundle: ModelBundle, engines: Sequence[str], scratch: Path
) -> list[dict[str, Any]]:
    """Return what the live node does with the `engines` that run here."""
    if request.node_seconds <= 0:
        return []
    rows = node_rows(
        bundle,
        engines,
        threads=request.threads,
        seconds=request.node_seconds,
        scratch=scratch,
    )
    return [{"title": "Through the live node, at the highest rate it keeps up", "rows": rows}]


def _row(name: str, spent: Float64Array) -> Row:
    wall, cpu = spent.T
    return {
        "way": name,
        "frames": len(spent),
        "ms_p50": float(np.median(wall)),
        "ms_max": float(wall.max()),
        "cpu_ms_p50": float(np.median(cpu)),
        "cpu_ms_min": float(cpu.min()),
    }


def _engine_ways(
    request: FamilyRequest, bundle: ModelBundle, stack: ExitStack
) -> tuple[dict[str, _Way], list[str]]:
    ways: dict[str, _Way] = {}
    executor = stack.enter_context(BackgroundExecutor("semla-swap"))
    changed, _ = golden_case(bundle, feature_dim=0)
    base = WeightSet(changed.mix, UNCHANGED, changed.text_features, changed.vocabulary)
    opened, notes = open_engines(request.engines, bundle, threads=request.threads, stack=stack)
    for text, engine in opened.items():
        engine.prepare(base)
        engine.commit()
        ways[text] = engine.infer
        ways[f"{text} swapping"] = _swapping(engine, (changed, base), executor)
    return ways, notes


def _swapping(
    engine: SegmentationEngine, sets: Sequence[WeightSet], executor: BackgroundExecutor
) -> _Way:
    wanted = cycle(sets)

    def frame(rgb: UInt8Array) -> None:
        ready = executor.submit(engine.prepare, next(wanted))
        engine.infer(rgb)
        ready.result()
        engine.commit()

    return frame


def _plain(bundle: ModelBundle, *, threads: int) -> _Way:
    """Return the graph as a plain node runs it: weights are constants, one argmax."""
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise EngineUnavailableError("a plain node needs onnx: pip install '.[train]'") from error
    model = onnx.load(str(bundle.segmentation_graph))
    image = next(each for each in model.graph.input if each.name == "image")
    del model.graph.input[:]
    model.graph.input.append(image)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    def frame(rgb: UInt8Array) -> object:
        (logits,) = session.run(["logits"], {"image": _pixels(rgb)})
        return _labels(logits, rgb)

    return frame


def _plain_openvino(bundle: ModelBundle, *, threads: int) -> _Way:
    """Return the graph in OpenVINO as its reader gives it: weights are constants."""
    openvino = open_core()
    with native_path(bundle.segmentation_graph) as name:
        model = openvino.core.read_model(name)
    height, width = bundle.manifest.segmentation.shape
    model.reshape({"image": [1, 3, height, width]})
    compiled = openvino.core.compile_model(model, "CPU", compile_settings(F32, threads=threads))
    request = compiled.create_infer_request()

    def frame(rgb: UInt8Array) -> object:
        request.infer({"image": _pixels(rgb)})
        return _labels(request.get_tensor("logits").data, rgb)

    return frame


def _pixels(rgb: UInt8Array) -> Float32Array:
    return np.ascontiguousarray(rgb.transpose(2, 0, 1)[None], np.float32)


def _labels(logits: Float32Array, rgb: UInt8Array) -> object:
    size = rgb.shape[1::-1]
    return np.argmax([cv2.resize(plane, size) for plane in logits[0]], axis=0)


def _eager(checkpoint: Path, *, threads: int) -> _Way:
    """Return the network, image processor and post-processing of transformers itself."""
    import torch

    from semla_ros.prepare.bundler.transformers.checkpoint import (
        import_transformers,
        read_hub_checkpoint,
    )

    read = read_hub_checkpoint(str(checkpoint))
    processor = import_transformers().AutoImageProcessor.from_pretrained(str(read.folder))
    torch.set_num_threads(threads)

    def frame(rgb: UInt8Array) -> object:
        with torch.inference_mode():
            found = read.network(**processor(rgb, return_tensors="pt"))
        sizes = [rgb.shape[:2]]
        return processor.post_process_semantic_segmentation(found, target_sizes=sizes)[0]

    return frame
