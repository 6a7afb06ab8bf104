"""The navigator's graph on OpenVINO: an image in, an embedding out, proven before it is used."""

from __future__ import annotations

import threading

import numpy as np

from semla_ros.bundle import ModelBundle
from semla_ros.bundle.onnx_session import cpu_threads
from semla_ros.core.errors import BundleError, EngineError, EngineUnavailableError
from semla_ros.core.types import Float32Array
from semla_ros.engine.embedding_proof import require_embeddings
from semla_ros.engine.openvino_graph import (
    compile_settings,
    identity,
    open_core,
    resolved_precision,
)
from semla_ros.engine.options import EngineOptions


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
        name = f"{self.precision} {identity(openvino)}"
        self.golden_error = require_embeddings(
            self, bundle, engine="openvino", precision=self.precision, identity=name
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
