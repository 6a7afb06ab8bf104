"""ONNX Runtime on the CPU: adaptable weights are graph inputs bound to our own memory.

Two slots, each with its own weight buffers and a binding made once. Swapping changes which
binding the next frame runs with: no session is created, nothing is copied in the frame loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import onnxruntime

from semla_ros.bundle import AS_TRAINED, GraphWeight, ModelBundle
from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.bundle.onnx_session import ORT_ERRORS, cpu_threads, open_session
from semla_ros.core.errors import BundleError, EngineError
from semla_ros.core.types import Float32Array, UInt8Array
from semla_ros.core.weights import WeightSet
from semla_ros.engine.base import SegmentationEngine
from semla_ros.engine.preprocess import InputBuffer
from semla_ros.engine.proof_session import ProofSession
from semla_ros.engine.slot_buffers import SlotBuffers
from semla_ros.engine.weights import (
    SECOND_TAP,
    SEGMENTATION_GRAPH,
    graph_shape,
    layers_of,
    second_tap,
    shared_initializers,
)

_PROBE_CLASSES = 2


class OnnxEngine(SegmentationEngine):
    """The default engine; runs wherever ONNX Runtime does."""

    name: ClassVar[str] = "onnx"

    def __init__(self, bundle: ModelBundle, *, threads: int = 0) -> None:
        """Open the segmentation graph and allocate both slots.

        Raises:
            BundleError: Graph, weights and manifest do not fit each other.
        """
        layers = layers_of(bundle, SEGMENTATION_GRAPH)
        spec = bundle.manifest.segmentation
        size = spec.size
        base = BaseWeights.open(bundle)
        self._shared = shared_initializers(bundle, layers)
        session = open_session(bundle.segmentation_graph, threads=threads, shared=self._shared)
        facts = _inspect(session, layers, size=size)
        if bundle.manifest.adapter_guidance == AS_TRAINED and not facts.second_tap:
            raise BundleError(
                f"segmentation.onnx: expected an input {SECOND_TAP!r} as the manifest's "
                f"adapter_guidance {AS_TRAINED!r} needs it, found none: rebuild the bundle"
            )
        super().__init__(
            layers, size=size, feature_dim=facts.feature_dim, max_classes=spec.max_classes
        )
        self._bundle = bundle
        self._session: onnxruntime.InferenceSession | None = session
        self._input = InputBuffer(size)
        buffers = [SlotBuffers(layers, base, threads=cpu_threads(threads)) for _ in range(2)]
        self._slots = [_BoundSlot(session, layers, each, image=self._input) for each in buffers]
        self._map_size = _probe(session, facts, image=self._input)
        self._proof = ProofSession(bundle, layers, own=session, threads=threads)

    @classmethod
    def open(cls, bundle: ModelBundle, *, threads: int) -> OnnxEngine:
        """Return the engine of `bundle`."""
        return cls(bundle, threads=threads)

    def _prepare_impl(self, index: int, weight_set: WeightSet) -> None:
        tap = second_tap(self._bundle, weight_set.mix)
        self._slots[index].fill(weight_set, tap, map_size=self._map_size)

    def _infer_impl(self, index: int, rgb: UInt8Array | Float32Array) -> Float32Array:
        self._input.load(rgb)
        slot = self._slots[index]
        try:
            slot.session.run_with_iobinding(slot.binding)
        except ORT_ERRORS as error:
            raise EngineError(f"ONNX Runtime failed on a frame: {error}") from error
        return slot.logits

    def _prove_impl(self, index: int, image: UInt8Array) -> Float32Array | None:
        return self._slots[index].proved(self._proof, image)

    def _close_impl(self) -> None:
        self._proof.close()
        self._slots.clear()
        self._session = None
        del self._shared


class _BoundSlot:
    """Weight buffers in graph layout, and the binding that reads them."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        layers: dict[str, GraphWeight],
        buffers: SlotBuffers,
        *,
        image: InputBuffer,
    ) -> None:
        self.session = session
        self.binding = session.io_binding()
        self.logits: Float32Array = np.zeros((0, 0, 0), np.float32)
        self._features: Float32Array = np.zeros((0, 0), np.float32)
        self._bound: dict[str, Float32Array | npt.NDArray[np.int64]] = {}
        self._buffers = buffers
        self._tap: int | None = None
        for name, layer in layers.items():
            self._bind_input(layer.initializer, buffers.arrays[name])
        self._bind_input("image", image.tensor)

    def fill(self, weight_set: WeightSet, tap: int | None, *, map_size: tuple[int, int]) -> None:
        """Write weights and text features, see `SlotBuffers.fill`.

        `tap` goes into the graph's input of that name, None where it has none.
        """
        self._buffers.fill(weight_set.weights)
        self._tap = tap
        if tap is not None:
            self._bind_input(SECOND_TAP, np.array([tap], np.int64))
        self._write_features(weight_set.text_features, map_size)

    def proved(self, proof: ProofSession, image: UInt8Array) -> Float32Array:
        """Return the logits of `image` with what this slot holds, computed by `proof`."""
        arrays, features = self._buffers.arrays, self._features
        return proof.logits(image, arrays, features=features, tap=self._tap)

    def _write_features(self, features: Float32Array, map_size: tuple[int, int]) -> None:
        if self._features.shape != features.shape:
            self._features = np.empty(features.shape, np.float32)
            batch = np.zeros((1, len(features), *map_size), np.float32)
            self.logits = batch.reshape(batch.shape[1:])
            self._bind_input("text_features", self._features)
            self.binding.bind_ortvalue_output(
                "logits", onnxruntime.OrtValue.ortvalue_from_numpy(batch)
            )
        np.copyto(self._features, features)

    def _bind_input(self, name: str, array: Float32Array | npt.NDArray[np.int64]) -> None:
        """Bind `array` without a copy; what is written to it later is what the graph reads."""
        self._bound[name] = array
        self.binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))


@dataclass(frozen=True, slots=True)
class _GraphFacts:
    """What the graph says.

    Attributes:
        feature_dim: Width D of text features.
        classes: How many classes to probe it with.
        second_tap: Whether it lets the second tap be chosen.
    """

    feature_dim: int
    classes: int
    second_tap: bool


def _inspect(
    session: onnxruntime.InferenceSession, layers: dict[str, GraphWeight], *, size: int
) -> _GraphFacts:
    """Return the graph's facts, every layer of the manifest found in it.

    Raises:
        BundleError: An input is missing or has another shape.
    """
    required = {each.name: each.shape for each in session.get_inputs()}
    offered = {each.name: each.shape for each in session.get_overridable_initializers()}
    image = required.get("image")
    features = required.get("text_features")
    if image is None or features is None or "logits" not in _output_names(session):
        raise BundleError(
            "segmentation.onnx: expected inputs 'image' and 'text_features' and output 'logits', "
            f"got {sorted(required)!r} and {_output_names(session)!r}: rebuild the bundle"
        )
    if list(image[1:]) != [3, size, size] or not isinstance(features[1], int):
        raise BundleError(
            f"segmentation.onnx: expected an image (1, 3, {size}, {size}) and text features "
            f"(T, D) with fixed D, got {image!r} and {features!r}: rebuild the bundle"
        )
    for layer in layers.values():
        got = (required | offered).get(layer.initializer)
        if got is None or tuple(got) != graph_shape(layer):
            raise BundleError(
                f"segmentation.onnx: expected an overridable weight {layer.initializer!r} of "
                f"shape {graph_shape(layer)!r}, got {got!r}: rebuild the bundle"
            )
    classes = features[0] if isinstance(features[0], int) else _PROBE_CLASSES
    return _GraphFacts(feature_dim=features[1], classes=classes, second_tap=SECOND_TAP in offered)


def _output_names(session: onnxruntime.InferenceSession) -> list[str]:
    return [each.name for each in session.get_outputs()]


def _probe(
    session: onnxruntime.InferenceSession, facts: _GraphFacts, *, image: InputBuffer
) -> tuple[int, int]:
    """Return (h, w) of the logits, found by one run with the base weights.

    Raises:
        BundleError: The graph does not run, or gives another kind of output.
    """
    features = np.full((facts.classes, facts.feature_dim), facts.feature_dim**-0.5, np.float32)
    try:
        (logits,) = session.run(["logits"], {"image": image.tensor, "text_features": features})
    except ORT_ERRORS as error:
        raise BundleError(f"segmentation.onnx does not run: {error}: rebuild it") from error
    if logits.ndim != 4 or logits.shape[:2] != (1, facts.classes) or logits.dtype != np.float32:
        raise BundleError(
            f"segmentation.onnx: expected logits (1, {facts.classes}, h, w) of float32, got "
            f"{logits.shape!r} of {logits.dtype}: rebuild the bundle"
        )
    return logits.shape[2], logits.shape[3]
