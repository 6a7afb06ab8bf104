"""The navigator's graph on OpenVINO: an image in, an embedding out, proven before it is used."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping

import numpy as np

from semla_ros.bundle import ModelBundle
from semla_ros.engine.golden import relative_error, verdict
from semla_ros.engine.openvino_graph import (
    compile_settings,
    identity,
    open_core,
    resolved_precision,
)
from semla_ros.engine.options import BF16, F16, F32, EngineOptions
from semla_ros.errors import BundleError, EngineError, EngineUnavailableError
from semla_ros.onnx_session import ORT_ERRORS, cpu_threads, open_session
from semla_ros.types import Float32Array

BOUNDS: Mapping[str, float] = {F32: 1e-3, F16: 5e-3, BF16: 2e-2}
"""Largest ||embedding - reference|| / ||reference|| of each precision.

Centroids in the library were made with the reference. An error e leaves a cosine of at least
sqrt(1 - e^2): 0.9999995, 0.99998 and 0.9998.
"""

_ERRORS: tuple[type[Exception], ...] = (EngineError, *ORT_ERRORS)
_IMAGES = 3
_BLOCK = 8


class OpenVinoRunner:
    """One compiled graph and one request; thread-safe."""

    def __init__(self, bundle: ModelBundle, *, options: EngineOptions) -> None:
        """Compile the graph and hold its answers against ONNX Runtime's.

        Args:
            bundle: Has a navigator.
            options: Threads and precision; `auto` is bf16 where the CPU has it, else f32.

        Raises:
            EngineUnavailableError: OpenVINO is missing, cannot meet an explicit precision, does
                not compile the graph, or answers something else than the reference.
            BundleError: The bundle has no such graph.
        """
        spec = bundle.manifest.navigator
        if spec is None:
            raise BundleError(f"bundle {bundle.manifest.name!r} has no navigator")
        openvino = open_core()
        self.precision = resolved_precision(openvino, options.precision)
        self._lock = threading.Lock()
        settings = compile_settings(self.precision, threads=cpu_threads(options.threads))
        try:
            model = openvino.core.read_model(bundle.navigator_graph)
            model.reshape({"image": [1, 3, spec.size, spec.size]})
            self._request = openvino.core.compile_model(
                model, "CPU", settings
            ).create_infer_request()
        except RuntimeError as error:
            raise EngineUnavailableError(
                "navigator 'openvino': OpenVINO does not compile "
                f"{bundle.navigator_graph.name!r}: {error}: take navigator_engine 'onnx'"
            ) from error
        name = f"navigator openvino {self.precision} {identity(openvino)}"
        self.golden_error = verdict(bundle, name, lambda: self._measured(bundle, spec.size))
        bound = BOUNDS[self.precision]
        if not self.golden_error <= bound:
            raise EngineUnavailableError(
                f"navigator 'openvino': expected embeddings within {bound:g} of ONNX Runtime's in "
                f"{self.precision}, got a relative error of {self.golden_error:.3g}: "
                "take navigator_engine 'onnx'"
            )

    def __call__(self, image: Float32Array) -> Float32Array:
        """Return the embedding of the preprocessed `image` (1, 3, S, S).

        Raises:
            EngineError: OpenVINO failed.
        """
        with self._lock:
            try:
                answer = self._request.infer({"image": image})["embedding"]
            except (RuntimeError, KeyError) as error:
                raise EngineError(f"OpenVINO failed on an embedding: {error}") from error
            return np.array(answer, np.float32)

    def _measured(self, bundle: ModelBundle, size: int) -> float:
        """Return the largest relative error over fixed images."""
        session = open_session(bundle.navigator_graph, threads=1)
        worst = 0.0
        for seed in range(_IMAGES):
            image = _image(size, seed)
            try:
                (expected,) = session.run(["embedding"], {"image": image})
                answer = self(image)
            except _ERRORS as error:
                raise EngineUnavailableError(
                    f"navigator 'openvino': the proof failed: {error}: "
                    "take navigator_engine 'onnx'"
                ) from error
            worst = max(worst, relative_error(answer.reshape(-1), expected.reshape(-1)))
        return worst


def _image(size: int, seed: int) -> Float32Array:
    """Return coarse noise as the navigator sees images, (1, 3, S, S) around 0."""
    side = math.ceil(size / _BLOCK)
    coarse = np.random.default_rng(seed).uniform(-2.0, 2.0, (1, 3, side, side))
    large = np.repeat(np.repeat(coarse, _BLOCK, 2), _BLOCK, 3)[:, :, :size, :size]
    return np.ascontiguousarray(large, np.float32)
