"""Whether an engine gives the reference's answer, found once for each model and machine.

`auto` asks this of an engine before it trusts it: one image, changed weights, the same on ONNX
Runtime in float32. The verdict is kept in the user's cache folder, because on one core of a robot
the reference alone takes seconds. Without such a folder it is found at every start.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from semla_ros.bundle import ModelBundle
from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.core.engines import BF16, F16, F32
from semla_ros.core.errors import EngineError, EngineUnavailableError
from semla_ros.core.files.structured_text import from_json
from semla_ros.core.types import AdapterMix, Float32Array, UInt8Array
from semla_ros.core.weights import ArrayWeights, WeightSet
from semla_ros.engine.contract import SegmentationEngine
from semla_ros.engine.onnx_engine import OnnxEngine
from semla_ros.engine.weights import SEGMENTATION_GRAPH, layers_of

BOUNDS: Mapping[str, float] = {F32: 1e-3, F16: 2e-2, BF16: 5e-2}
"""Largest ||logits - reference|| / ||reference|| of each precision."""

_SCHEMA = 1
_CHANGED = 0.7
_MAX_VERDICT_BYTES = 4096
_LOG = logging.getLogger(__name__)


def require_golden(engine: SegmentationEngine, bundle: ModelBundle) -> float:
    """Return the relative error of `engine` on the golden image, once it is within bounds.

    Nothing is published in `engine`, whose model is `bundle`.

    Raises:
        EngineUnavailableError: The engine fails, or answers something else than the reference.
    """
    facts = engine.facts
    name = f"{facts.name} {facts.precision} {facts.identity}"
    error = verdict(bundle, name, lambda: _measured(engine, bundle))
    require_within(
        BOUNDS[facts.precision],
        error,
        who=f"engine {facts.name!r}",
        what=f"logits in {facts.precision}",
        remedy="take engine 'onnx'",
    )
    return error


def require_within(bound: float, error: float, *, who: str, what: str, remedy: str) -> None:
    """Return if the relative `error` of `who` is within `bound`.

    Raises:
        EngineUnavailableError: It is not, or is no number.
    """
    if not error <= bound:
        raise EngineUnavailableError(
            f"{who}: expected {what} within {bound:g} of ONNX Runtime's in f32, got a relative "
            f"error of {error:.3g}: {remedy}"
        )


def verdict(bundle: ModelBundle, identity: str, measure: Callable[[], float]) -> float:
    """Return the error that `measure` finds, or found before for `bundle` and `identity`."""
    key = _key(bundle, identity)
    error = _remembered(key)
    if error is None:
        error = measure()
        _remember(key, error)
    return error


def relative_error(logits: Float32Array, reference: Float32Array) -> float:
    """Return ||logits - reference|| / ||reference||, infinite where a value is not finite."""
    if not np.isfinite(logits).all():
        return math.inf
    error = np.linalg.norm((logits - reference).astype(np.float64))
    return float(error / max(float(np.linalg.norm(reference)), 1e-12))


def golden_case(bundle: ModelBundle, *, feature_dim: int) -> tuple[WeightSet, UInt8Array]:
    """Return weights and an image whose answer tells whether an engine works.

    The first and the last layer are changed: an engine that ignores merged weights fails.
    """
    layers = list(layers_of(bundle, SEGMENTATION_GRAPH).values())
    base = BaseWeights.open(bundle)
    rng = np.random.default_rng(0)
    names = bundle.manifest.vocabulary
    features = rng.standard_normal((len(names.names), feature_dim)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    height, width = bundle.manifest.segmentation.shape
    ends = {layer.name for layer in (*layers[:1], *layers[-1:])}
    changed = ArrayWeights({name: base.get(name) * np.float32(_CHANGED) for name in ends})
    coarse = rng.integers(0, 256, (math.ceil(height / 8), math.ceil(width / 8), 3), dtype=np.uint8)
    image: UInt8Array = np.repeat(np.repeat(coarse, 8, 0), 8, 1)[:height, :width]
    mix = AdapterMix(("golden",), (1.0,))
    return WeightSet(mix, changed, features, names), np.ascontiguousarray(image)


def _measured(engine: SegmentationEngine, bundle: ModelBundle) -> float:
    name, width = engine.facts.name, engine.facts.feature_dim
    if width is None:
        raise EngineUnavailableError(
            f"engine {name!r} does not say how wide text features are: it cannot be proven"
        )
    weight_set, image = golden_case(bundle, feature_dim=width)
    try:
        logits = engine.probe(weight_set, image)
        with OnnxEngine(bundle) as reference:
            expected = reference.probe(weight_set, image)
    except EngineError as error:
        raise EngineUnavailableError(
            f"engine {name!r} fails on the golden image: {error}"
        ) from error
    return relative_error(logits, expected)


def _key(bundle: ModelBundle, identity: str) -> str:
    """Return what the verdict depends on, hashed; empty where the bundle's files are not known."""
    files = bundle.manifest.files
    if not files:
        return ""
    facts = [_SCHEMA, _CHANGED, identity, *(f"{n} {files[n]}" for n in sorted(files))]
    facts += [repr(layer) for layer in bundle.manifest.layers]
    facts += list(bundle.manifest.vocabulary.names)
    return hashlib.sha256("\n".join(str(each) for each in facts).encode()).hexdigest()


def _folder() -> Path:
    root = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(root) if root else Path.home() / ".cache") / "semla_ros" / "golden"


def _remembered(key: str) -> float | None:
    if not key:
        return None
    try:
        path = _folder() / f"{key}.json"
        if path.stat().st_size > _MAX_VERDICT_BYTES:
            return None
        error = from_json(path.read_bytes())["relative_error"]
    except (OSError, RuntimeError, ValueError, KeyError, TypeError):
        return None
    return error if isinstance(error, float) else None


def _remember(key: str, error: float) -> None:
    """Keep a finite error; a failure to do so costs seconds at the next start."""
    if not key or not math.isfinite(error):
        return
    try:
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f".{key}.{os.getpid()}"
        draft.write_text(json.dumps({"relative_error": error}), encoding="utf-8")
        draft.replace(folder / f"{key}.json")
    except (OSError, RuntimeError) as failure:
        _LOG.info("the golden verdict cannot be kept: %s", failure)
