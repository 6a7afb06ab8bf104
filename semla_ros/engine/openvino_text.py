"""The text tower on OpenVINO: tokens and merged weights in, features out, proven first."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from semla_ros.bundle import ModelBundle
from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.bundle.onnx_session import ORT_ERRORS, cpu_threads, open_session
from semla_ros.core.errors import EngineError, EngineUnavailableError
from semla_ros.core.types import Float32Array
from semla_ros.engine.embedding_proof import BOUNDS
from semla_ros.engine.golden import relative_error, verdict
from semla_ros.engine.openvino_graph import (
    compile_settings,
    identity,
    open_core,
    read_text_graph,
    resolved_precision,
)
from semla_ros.engine.options import EngineOptions
from semla_ros.engine.text import TextEncoder
from semla_ros.engine.weights import TEXT_GRAPH, layers_of

_PROMPTS = 3


class OpenVinoTextTower:
    """The compiled text graph with every adaptable weight as an input; thread-safe."""

    def __init__(self, bundle: ModelBundle, *, options: EngineOptions) -> None:
        """Compile the graph and hold its answers against ONNX Runtime's.

        Args:
            bundle: Where the graph and W0 are.
            options: Threads and precision; `auto` is bf16 where the CPU has it, else f32.

        Raises:
            EngineUnavailableError: OpenVINO is missing, cannot meet an explicit precision, does
                not compile the graph, or answers something else than the reference.
            BundleError: The graph does not fit the manifest.
        """
        openvino = open_core()
        self.precision = resolved_precision(openvino, options.precision)
        self._lock = threading.Lock()
        layers = layers_of(bundle, TEXT_GRAPH)
        base = BaseWeights.open(bundle)
        self._base = {x.initializer: base.as_stored(name) for name, x in layers.items()}
        settings = compile_settings(self.precision, threads=cpu_threads(options.threads))
        try:
            model = read_text_graph(openvino, bundle.text_graph, layers)
            compiled = openvino.core.compile_model(model, "CPU", settings)
            self._request = compiled.create_infer_request()
        except RuntimeError as error:
            raise EngineUnavailableError(
                f"text tower on 'openvino': OpenVINO does not compile {bundle.text_graph.name!r}: "
                f"{error}: take navigator_engine 'onnx'"
            ) from error
        name = f"text openvino {self.precision} {identity(openvino)}"
        self.golden_error = verdict(bundle, name, lambda: self._measured(bundle))
        bound = BOUNDS[self.precision]
        if not self.golden_error <= bound:
            raise EngineUnavailableError(
                f"text tower on 'openvino': expected features within {bound:g} of ONNX Runtime's "
                f"in {self.precision}, got a relative error of "
                f"{self.golden_error:.3g}: take navigator_engine 'onnx'"
            )

    def __call__(
        self, tokens: npt.NDArray[np.int64], merged: Mapping[str, Float32Array]
    ) -> Float32Array:
        """Return the features (N, D) of `tokens` (N, L).

        Args:
            tokens: Ids, zero after the end.
            merged: Initializer -> weight in the graph's layout; W0 where it is missing.

        Raises:
            EngineError: OpenVINO failed.
        """
        with self._lock:
            try:
                answer = self._request.infer({**self._base, **merged, "tokens": tokens})
                return np.array(answer["text_features"], np.float32)
            except (RuntimeError, KeyError) as error:
                raise EngineError(f"the text encoder failed: {error}") from error

    def _measured(self, bundle: ModelBundle) -> float:
        """Return the largest relative error over the first classes, with W0 and other weights."""
        session = open_session(bundle.text_graph, threads=1)
        tokens = TextEncoder(bundle).tokens(bundle.manifest.vocabulary)[:_PROMPTS]
        rng = np.random.default_rng(0)
        changed = {
            name: (array * (1 + 0.05 * rng.standard_normal(array.shape))).astype(np.float32)
            for name, array in self._base.items()
        }
        worst = 0.0
        for merged in ({}, changed):
            try:
                (expected,) = session.run(["text_features"], {"tokens": tokens, **merged})
            except ORT_ERRORS as error:
                raise EngineUnavailableError(f"the text tower's proof failed: {error}") from error
            worst = max(worst, relative_error(self(tokens, merged), expected))
        return worst
