"""CLIP on OpenVINO: the navigator's image tower and the text tower, proven before they serve."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from semla_ros.bundle import ModelBundle
from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.bundle.onnx_session import ORT_ERRORS, cpu_threads, open_session
from semla_ros.core.errors import BundleError, EngineError, EngineUnavailableError
from semla_ros.core.types import Float32Array
from semla_ros.engine.embedding_proof import BOUNDS, require_embeddings
from semla_ros.engine.golden import relative_error, require_within, verdict
from semla_ros.engine.openvino_graph import (
    Handle,
    OpenVino,
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


class _Tower:
    """One compiled graph and one request; thread-safe."""

    def __init__(
        self, what: str, read: Callable[[OpenVino], Handle], *, options: EngineOptions
    ) -> None:
        """Compile what `read` returns; `what` names it in messages.

        Raises:
            EngineUnavailableError: OpenVINO is missing, cannot meet an explicit precision, or
                does not compile the graph.
        """
        openvino = open_core()
        self.precision = resolved_precision(openvino, options.precision)
        self.identity = f"{self.precision} {identity(openvino)}"
        self._what = what
        self._lock = threading.Lock()
        settings = compile_settings(self.precision, threads=cpu_threads(options.threads))
        try:
            compiled = openvino.core.compile_model(read(openvino), "CPU", settings)
            self._request = compiled.create_infer_request()
        except RuntimeError as error:
            raise EngineUnavailableError(
                f"{what} on 'openvino': OpenVINO does not compile it: {error}: "
                "take navigator_engine 'onnx'"
            ) from error

    def _run(self, inputs: Mapping[str, npt.NDArray[Any]], output: str) -> Float32Array:
        with self._lock:
            try:
                return np.array(self._request.infer(inputs)[output], np.float32)
            except (RuntimeError, KeyError) as error:
                raise EngineError(f"{self._what} on 'openvino' failed: {error}") from error


class OpenVinoRunner(_Tower):
    """From a preprocessed image to its embedding."""

    def __init__(self, bundle: ModelBundle, *, options: EngineOptions) -> None:
        """Compile the navigator and hold its answers against ONNX Runtime's.

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

        def read(openvino: OpenVino) -> Handle:
            model = openvino.core.read_model(bundle.navigator_graph)
            model.reshape({"image": [1, 3, *spec.shape]})
            return model

        super().__init__("the navigator", read, options=options)
        require_embeddings(
            self, bundle, engine="openvino", precision=self.precision, identity=self.identity
        )

    def __call__(self, image: Float32Array) -> Float32Array:
        """Return the embedding of the preprocessed `image` (1, 3, H, W).

        Raises:
            EngineError: OpenVINO failed.
        """
        return self._run({"image": image}, "embedding")


class OpenVinoTextTower(_Tower):
    """From tokens and merged weights to text features; every adaptable weight is an input."""

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
        layers = layers_of(bundle, TEXT_GRAPH)
        base = BaseWeights.open(bundle)
        self._base = {x.initializer: base.as_stored(name) for name, x in layers.items()}
        super().__init__(
            "the text tower",
            lambda openvino: read_text_graph(openvino, bundle.text_graph, layers),
            options=options,
        )
        error = verdict(bundle, f"text openvino {self.identity}", lambda: self._measured(bundle))
        require_within(
            BOUNDS[self.precision],
            error,
            who="the text tower on 'openvino'",
            what=f"features in {self.precision}",
            remedy="take navigator_engine 'onnx'",
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
        return self._run({**self._base, **merged, "tokens": tokens}, "text_features")

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
