"""ONNX Runtime on the CPU: adaptable weights are graph inputs bound to our own memory.

Two slots, each with its own weight buffers and a binding made once. Swapping changes which
binding the next frame runs with: no session is created, nothing is copied in the frame loop.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnxruntime

from semla_ros.bundle import GraphWeight, Manifest, ModelBundle
from semla_ros.bundle.onnx_session import ORT_ERRORS, cpu_threads, open_session
from semla_ros.core.errors import BundleError, EngineError
from semla_ros.core.types import Float32Array, UInt8Array
from semla_ros.engine.contract import EngineFacts
from semla_ros.engine.graph_ends import GraphEnds
from semla_ros.engine.graph_engine import GraphEngine, SlotInputs, bind_input, bind_output
from semla_ros.engine.options import ASKED_FOR, EngineOptions
from semla_ros.engine.preprocess import InputBuffer
from semla_ros.engine.weights import (
    SECOND_TAP,
    SEGMENTATION_GRAPH,
    layers_of,
    shared_initializers,
)

_PROBE_CLASSES = 2


class OnnxEngine(GraphEngine):
    """The default engine; runs wherever ONNX Runtime does."""

    def __init__(self, bundle: ModelBundle, *, threads: int = 0, reason: str = ASKED_FOR) -> None:
        """Open the segmentation graph and allocate both slots.

        Raises:
            BundleError: Graph, weights and manifest do not fit each other.
        """
        layers = layers_of(bundle, SEGMENTATION_GRAPH)
        spec = bundle.manifest.segmentation
        self._weights = shared_initializers(bundle, layers)
        session = open_session(bundle.segmentation_graph, threads=threads, shared=self._weights)
        graph = _inspect(session, layers, bundle.manifest)
        facts = EngineFacts(
            "onnx",
            layers,
            spec.shape,
            graph.feature_dim,
            spec.max_classes,
            reason=reason,
            activation=spec.activation,
        )
        lent = session if cpu_threads(threads) == 1 else None
        super().__init__(bundle, facts, threads=threads, has_tap=graph.second_tap, proof=lent)
        self._map_size = _probe(session, graph, image=self._input)
        self._slots = [
            _BoundSlot(session, each, image=self._input, embedding=self._embedding)
            for each in self._inputs
        ]

    def _bind(self, index: int) -> None:
        self._slots[index].bind(self._map_size)

    def _infer_impl(self, index: int, rgb: UInt8Array | Float32Array) -> Float32Array:
        self._input.load(rgb)
        slot = self._slots[index]
        try:
            slot.session.run_with_iobinding(slot.binding)
        except ORT_ERRORS as error:
            raise EngineError(f"ONNX Runtime failed on a frame: {error}") from error
        return slot.logits

    def _close_impl(self) -> None:
        super()._close_impl()
        self._slots.clear()
        del self._weights


def open_engine(bundle: ModelBundle, *, options: EngineOptions) -> OnnxEngine:
    """Return the engine of `bundle`, see `OnnxEngine`."""
    return OnnxEngine(bundle, threads=options.threads, reason=options.reason)


class _BoundSlot:
    """The binding that reads one slot's inputs, and what it wrote last, (T, h, w)."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        inputs: SlotInputs,
        *,
        image: InputBuffer,
        embedding: Float32Array | None,
    ) -> None:
        self.session = session
        self.binding = session.io_binding()
        self.logits: Float32Array = np.zeros((0, 0, 0), np.float32)
        self._inputs = inputs
        self._features: Float32Array | None = None
        bind_input(self.binding, "image", image.tensor)
        if embedding is not None:
            bind_output(self.binding, "embedding", embedding)

    def bind(self, map_size: tuple[int, int]) -> None:
        """Bind the inputs, and logits of `map_size` (h, w), unless they are the same arrays."""
        features = self._inputs.features
        if self._features is features:
            return
        for name, array in self._inputs.arrays.items():
            bind_input(self.binding, name, array)
        batch = np.zeros((1, len(features), *map_size), np.float32)
        bind_output(self.binding, "logits", batch)
        self._features, self.logits = features, batch.reshape(batch.shape[1:])


@dataclass(frozen=True, slots=True)
class _GraphFacts:
    """What the graph says.

    Attributes:
        feature_dim: Width D of text features, 0: it takes none.
        classes: How many classes to probe it with.
        second_tap: Whether it lets the second tap be chosen.
    """

    feature_dim: int
    classes: int
    second_tap: bool


def _inspect(
    session: onnxruntime.InferenceSession, layers: dict[str, GraphWeight], manifest: Manifest
) -> _GraphFacts:
    """Return the graph's facts, every layer of the manifest found in it.

    Raises:
        BundleError: An input is missing or has another shape.
    """
    required = {each.name: each.shape for each in session.get_inputs()}
    offered = {each.name: each.shape for each in session.get_overridable_initializers()}
    ends = GraphEnds(required, tuple(_output_names(session)))
    feature_dim = ends.checked(manifest)
    for layer in layers.values():
        got = (required | offered).get(layer.initializer)
        if got is None or tuple(got) != layer.graph_shape:
            raise BundleError(
                f"segmentation.onnx: expected an overridable weight {layer.initializer!r} of "
                f"shape {layer.graph_shape!r}, got {got!r}: rebuild the bundle"
            )
    classes = len(manifest.vocabulary.names)
    if feature_dim:
        fixed = required["text_features"][0]
        classes = fixed if isinstance(fixed, int) else _PROBE_CLASSES
    return _GraphFacts(feature_dim=feature_dim, classes=classes, second_tap=SECOND_TAP in offered)


def _output_names(session: onnxruntime.InferenceSession) -> list[str]:
    return [each.name for each in session.get_outputs()]


def _probe(
    session: onnxruntime.InferenceSession, facts: _GraphFacts, *, image: InputBuffer
) -> tuple[int, int]:
    """Return (h, w) of the logits, found by one run with the base weights.

    Raises:
        BundleError: The graph does not run, or gives another kind of output.
    """
    feed = {"image": image.tensor}
    if width := facts.feature_dim:
        feed["text_features"] = np.full((facts.classes, width), width**-0.5, np.float32)
    try:
        (logits,) = session.run(["logits"], feed)
    except ORT_ERRORS as error:
        raise BundleError(f"segmentation.onnx does not run: {error}: rebuild it") from error
    if logits.ndim != 4 or logits.shape[:2] != (1, facts.classes) or logits.dtype != np.float32:
        raise BundleError(
            f"segmentation.onnx: expected logits (1, {facts.classes}, h, w) of float32, got "
            f"{logits.shape!r} of {logits.dtype}: rebuild the bundle"
        )
    return logits.shape[2], logits.shape[3]
