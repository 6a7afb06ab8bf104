"""Whether a runtime embeds images as ONNX Runtime does: embeddings decide which adapters serve."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from semla_ros.bundle import ModelBundle, NavigatorSpec
from semla_ros.bundle.onnx_session import ORT_ERRORS, open_session
from semla_ros.core.engines import BF16, F16, F32
from semla_ros.core.errors import EngineError, EngineUnavailableError
from semla_ros.core.types import Float32Array
from semla_ros.engine.golden import relative_error, require_within, verdict

BOUNDS: Mapping[str, float] = {F32: 1e-3, F16: 5e-3, BF16: 2e-2}
"""Largest ||embedding - reference|| / ||reference|| of each precision.

Centroids in the library were made with the reference. An error e leaves a cosine of at least
sqrt(1 - e^2): 0.9999995, 0.99998 and 0.9998.
"""

_ERRORS: tuple[type[Exception], ...] = (EngineError, *ORT_ERRORS)
_IMAGES = 3
_BLOCK = 8

Run = Callable[[Float32Array], Float32Array]
"""From a preprocessed image (1, 3, H, W) to its embedding."""


def require_embeddings(
    run: Run, bundle: ModelBundle, *, engine: str, precision: str, identity: str
) -> None:
    """Return if `run` embeds fixed images within the bounds.

    Args:
        run: Embeds with the navigator of `bundle`.
        bundle: Has a navigator.
        engine: Name of the runtime.
        precision: A key of `BOUNDS`.
        identity: What the last bits of its answers depend on; the verdict is kept for it.

    Raises:
        EngineUnavailableError: It fails, or answers something else than the reference.
    """
    error = verdict(
        bundle, f"navigator {engine} {identity}", lambda: _measured(run, bundle, engine=engine)
    )
    require_within(
        BOUNDS[precision],
        error,
        who=f"navigator {engine!r}",
        what=f"embeddings in {precision}",
        remedy="take navigator_engine 'onnx'",
    )


def _measured(run: Run, bundle: ModelBundle, *, engine: str) -> float:
    """Return the largest relative error over fixed images."""
    spec = bundle.manifest.navigator
    if spec is None:
        raise EngineUnavailableError(f"bundle {bundle.manifest.name!r} has no navigator")
    session = open_session(bundle.navigator_graph, threads=1)
    worst = 0.0
    for seed in range(_IMAGES):
        image = _image(spec, seed)
        try:
            (expected,) = session.run(["embedding"], {"image": image})
            answer = run(image)
        except _ERRORS as error:
            raise EngineUnavailableError(
                f"navigator {engine!r}: the proof failed: {error}: take navigator_engine 'onnx'"
            ) from error
        worst = max(worst, relative_error(answer.reshape(-1), expected.reshape(-1)))
    return worst


def _image(spec: NavigatorSpec, seed: int) -> Float32Array:
    """Return coarse noise as the navigator sees images, (1, 3, H, W), normalised."""
    height, width = spec.shape
    rough = (1, 3, math.ceil(height / _BLOCK), math.ceil(width / _BLOCK))
    noise = np.random.default_rng(seed).uniform(0.0, 1.0, rough)
    large = np.repeat(np.repeat(noise, _BLOCK, 2), _BLOCK, 3)[:, :, :height, :width]
    mean, std = (np.asarray(each).reshape(1, 3, 1, 1) for each in (spec.mean, spec.std))
    return np.ascontiguousarray((large - mean) / std, np.float32)
