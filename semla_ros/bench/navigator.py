"""`semla bench navigator`: what embedding with CLIP ViT-L/14 costs in each runtime and in SemLA.

Ways take turns. Weights are random: times are those of the published encoder, errors are those of
this network.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from semla_ros.bench.record import BenchRecord, Row
from semla_ros.bench.resources import resident_mib
from semla_ros.bench.turns import in_turns
from semla_ros.bundle import ModelBundle, NavigatorSpec, open_bundle
from semla_ros.bundle.onnx_session import open_session
from semla_ros.core.engines import BF16, F32
from semla_ros.core.errors import EngineUnavailableError
from semla_ros.core.types import Float32Array, Float64Array
from semla_ros.engine.openvino_clip import OpenVinoRunner
from semla_ros.engine.options import EngineOptions
from semla_ros.pipeline import default_bundle

Embed = Callable[[Float32Array], Float32Array]

_SIDE, _DIM = 224, 768
_NOTES = (
    "ViT-L/14 (24 layers of 1024) of random weights, 224 px, one image; ways take turns.",
    "official: open_clip's visual tower in torch, as SemLA calls it; ONNX Runtime and OpenVINO "
    "run the graph that the bundle's exporter makes of it.",
    "relative_error and cosine are of the embedding beside the official one.",
    "resident_mib is what opening and one run added, with what compiling and the proof left.",
)


def run_navigator(*, threads: int, rounds: int, command: str) -> BenchRecord:
    """Return the record of every way that works here; the others are named in the notes.

    Raises:
        EngineUnavailableError: torch or open_clip is missing.
    """
    with tempfile.TemporaryDirectory(prefix="semla-bench-") as scratch:
        official, bundle = _made(Path(scratch), threads=threads)
        ways, held, notes = _opened(bundle, official, threads=threads)
        times = in_turns(ways, [_image(number) for number in range(rounds)], warm_up=0)
        image = _image(rounds)
        expected = official(image).reshape(-1)
        rows = [
            _row(name, times, held[name], ways[name](image).reshape(-1), expected) for name in ways
        ]
    title = f"Embedding an image with ViT-L/14 ({threads} threads)"
    return BenchRecord(title, command, tuple(rows), notes=(*_NOTES, *notes))


def _made(scratch: Path, *, threads: int) -> tuple[Embed, ModelBundle]:
    """Return the official way, and a bundle with the same encoder as its navigator."""
    try:
        import torch

        from semla_ros.prepare.bundler.clip import ClipSize, create_clip
        from semla_ros.prepare.bundler.image_tower import ImageTower
        from semla_ros.prepare.bundler.onnx_export import export_image_encoder
    except ImportError as error:
        raise EngineUnavailableError(f"{error}: pip install '.[train]'") from error
    torch.set_num_threads(threads)
    size = ClipSize(
        embed_dim=_DIM, image_size=_SIDE, patch=14, vision_width=1024, vision_layers=24
    )
    tower = ImageTower(create_clip(size, seed=0).visual).eval()
    export_image_encoder(tower, scratch / "navigator.onnx", size=_SIDE)
    manifest = open_bundle(default_bundle()).manifest
    spec = NavigatorSpec(
        identity="bench",
        size=_SIDE,
        resize="center_crop",
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        dim=_DIM,
    )

    def official(image: Float32Array) -> Float32Array:
        with torch.inference_mode():
            answer: Float32Array = tower(torch.from_numpy(image)).numpy()
        return answer

    return official, ModelBundle(scratch, replace(manifest, navigator=spec, files={}))


def _opened(
    bundle: ModelBundle, official: Embed, *, threads: int
) -> tuple[dict[str, Embed], dict[str, float], list[str]]:
    """Return the ways, what each holds in MiB, and why others are left out."""

    def onnx() -> Embed:
        session = open_session(bundle.navigator_graph, threads=threads)
        return lambda image: np.asarray(session.run(None, {"image": image})[0], np.float32)

    def openvino(precision: str) -> Embed:
        return OpenVinoRunner(bundle, options=EngineOptions(threads, precision))

    openers: dict[str, Callable[[], Embed]] = {
        "official (torch f32)": lambda: official,
        "onnx f32": onnx,
        "openvino f32": lambda: openvino(F32),
        "openvino bf16": lambda: openvino(BF16),
    }
    ways, held, notes = {}, {}, []
    for name, opener in openers.items():
        before = resident_mib()
        try:
            ways[name] = opener()
        except EngineUnavailableError as error:
            notes.append(f"Left out {name}: {error}.")
            continue
        ways[name](_image(0))
        held[name] = resident_mib() - before
    return ways, held, notes


def _row(
    name: str,
    times: Mapping[str, Float64Array],
    held: float,
    answer: Float32Array,
    expected: Float32Array,
) -> Row:
    taken, base = times[name], next(iter(times.values()))
    lengths = float(np.linalg.norm(answer)) * float(np.linalg.norm(expected))
    return {
        "way": name,
        "p50_ms": float(np.median(taken[:, 0])),
        "cpu_ms_p50": float(np.median(taken[:, 1])),
        "cpu_ms_min": float(taken[:, 1].min()),
        "official_over_this": float(np.median(base[:, 1] / taken[:, 1])),
        "relative_error": float(np.linalg.norm(answer - expected) / np.linalg.norm(expected)),
        "cosine": float(answer @ expected) / lengths,
        "resident_mib": held,
    }


def _image(seed: int) -> Float32Array:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((1, 3, _SIDE, _SIDE)).astype(np.float32)
