"""OpenVINO on the CPU: adaptable weights are inputs in our own memory, bfloat16 where it is fast.

OpenVINO's reader makes constants of overridable initializers; they are turned back into inputs.
Networks are compiled for one number of classes, in `prepare`, never in the frame loop. Both slots
share one compiled network and have an infer request each, bound once to the slot's memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from semla_ros.bundle import AS_TRAINED, GraphWeight, ModelBundle
from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.bundle.onnx_session import cpu_threads
from semla_ros.core.errors import BundleError, EngineError, EngineUnavailableError
from semla_ros.core.types import Float32Array, UInt8Array
from semla_ros.core.weights import WeightSet
from semla_ros.engine.base import SegmentationEngine
from semla_ros.engine.openvino_graph import (
    Graph,
    Handle,
    OpenVino,
    compile_settings,
    identity,
    open_core,
    read_graph,
    resolved_precision,
)
from semla_ros.engine.options import BF16, F16, F32, EngineOptions
from semla_ros.engine.preprocess import InputBuffer
from semla_ros.engine.proof_session import ProofSession
from semla_ros.engine.slot_buffers import SlotBuffers
from semla_ros.engine.weights import (
    SECOND_TAP,
    SEGMENTATION_GRAPH,
    layers_of,
    second_tap,
)

_ERROR = RuntimeError
"""What OpenVINO raises."""


class OpenVinoEngine(SegmentationEngine):
    """The fastest engine on CPUs that multiply bfloat16."""

    name: ClassVar[str] = "openvino"

    def __init__(self, bundle: ModelBundle, *, options: EngineOptions | None = None) -> None:
        """Read the graph, compile it for the bundle's class list, allocate both slots.

        Args:
            bundle: The model.
            options: Threads and precision; `auto` is bf16 where the CPU has it, else f32.

        Raises:
            EngineUnavailableError: OpenVINO is missing or broken, does not compile the graph, or
                cannot meet an explicit precision.
            BundleError: Graph, weights and manifest do not fit each other.
        """
        options = options or EngineOptions()
        options.require(self.name, precisions=(F32, BF16, F16))
        openvino = open_core()
        layers = layers_of(bundle, SEGMENTATION_GRAPH)
        spec = bundle.manifest.segmentation
        graph = read_graph(openvino, bundle.segmentation_graph, layers, size=spec.size)
        _require_tap(bundle, graph)
        super().__init__(
            layers, size=spec.size, feature_dim=graph.feature_dim, max_classes=spec.max_classes
        )
        self.precision = resolved_precision(openvino, options.precision)
        self.identity = identity(openvino)
        self._bundle = bundle
        threads = cpu_threads(options.threads)
        self._networks = _Networks(openvino, graph, precision=self.precision, threads=threads)
        try:
            self._networks.get(len(bundle.manifest.vocabulary.names))
        except EngineError as error:
            raise EngineUnavailableError(f"engine {self.name!r}: {error}") from error
        self._input = InputBuffer(spec.size)
        base = BaseWeights.open(bundle)
        buffers = [SlotBuffers(layers, base, threads=threads) for _ in range(2)]
        self._slots = [
            _BoundSlot(self._networks, layers, each, image=self._input) for each in buffers
        ]
        self._proof = ProofSession(bundle, layers)

    @classmethod
    def open(cls, bundle: ModelBundle, *, options: EngineOptions) -> OpenVinoEngine:
        """Return the engine of `bundle`."""
        return cls(bundle, options=options)

    def _prepare_impl(self, index: int, weight_set: WeightSet) -> None:
        tap = second_tap(self._bundle, weight_set.mix)
        try:
            self._slots[index].fill(weight_set, tap)
        finally:
            self._networks.keep({slot.classes for slot in self._slots})

    def _infer_impl(self, index: int, rgb: UInt8Array | Float32Array) -> Float32Array:
        self._input.load(rgb)
        slot = self._slots[index]
        try:
            slot.request.infer(share_outputs=True)
        except _ERROR as error:
            raise EngineError(f"OpenVINO failed on a frame: {error}") from error
        return slot.logits

    def _prove_impl(self, index: int, image: UInt8Array) -> Float32Array | None:
        return self._slots[index].proved(self._proof, image)

    def _close_impl(self) -> None:
        self._proof.close()
        self._slots.clear()
        self._networks.close()


def _require_tap(bundle: ModelBundle, graph: Graph) -> None:
    if bundle.manifest.adapter_guidance == AS_TRAINED and not graph.second_tap:
        raise BundleError(
            f"segmentation.onnx: expected an input {SECOND_TAP!r} as the manifest's "
            f"adapter_guidance {AS_TRAINED!r} needs it, found none: rebuild the bundle"
        )


@dataclass(frozen=True, slots=True)
class _Network:
    """One compiled network, and the size (h, w) of its logits."""

    compiled: Handle
    map_size: tuple[int, int]


class _Networks:
    """Networks by number of classes: OpenVINO does not compile this graph for any number at once.

    Used by one thread at a time: while the engine is made, then inside `prepare`.
    """

    def __init__(self, openvino: OpenVino, graph: Graph, *, precision: str, threads: int) -> None:
        self.second_tap = graph.second_tap
        self._openvino: OpenVino | None = openvino
        self._graph: Graph | None = graph
        self._settings = compile_settings(precision, threads=threads)
        self._by_classes: dict[int, _Network] = {}

    def get(self, classes: int) -> _Network:
        """Return the network for `classes`, compiled unless it is at hand.

        Raises:
            EngineError: It does not compile, or gives another kind of output.
        """
        if classes not in self._by_classes:
            self._by_classes[classes] = self._compiled(classes)
        return self._by_classes[classes]

    def keep(self, classes: set[int]) -> None:
        """Release every network but those for these numbers of classes."""
        self._by_classes = {n: each for n, each in self._by_classes.items() if n in classes}

    def close(self) -> None:
        """Release all of them, and the graph."""
        self._by_classes = {}
        self._openvino = self._graph = None

    def share(self, array: Float32Array | npt.NDArray[np.int64]) -> Handle:
        """Return a tensor that is `array`."""
        return self._require_open()[0].module.Tensor(array, shared_memory=True)

    def _require_open(self) -> tuple[OpenVino, Graph]:
        if self._openvino is None or self._graph is None:
            raise EngineError("the openvino engine is closed: create a new one")
        return self._openvino, self._graph

    def _compiled(self, classes: int) -> _Network:
        openvino, graph = self._require_open()
        try:
            model = graph.model.clone()
            model.reshape({"text_features": [classes, graph.feature_dim]})
            compiled = openvino.core.compile_model(model, "CPU", self._settings)
            shape = tuple(compiled.output("logits").get_shape())
        except _ERROR as error:
            raise EngineError(
                f"OpenVINO does not compile the graph for {classes} classes: {error}: "
                "take engine 'onnx'"
            ) from error
        if len(shape) != 4 or shape[:2] != (1, classes):
            raise EngineError(
                f"segmentation.onnx: expected logits (1, {classes}, h, w), got {shape!r}: "
                "rebuild the bundle"
            )
        return _Network(compiled, (shape[2], shape[3]))


class _BoundSlot:
    """Weight buffers in graph layout, and the infer request that reads them.

    Attributes:
        request: Runs the network with what this slot holds.
        logits: What it wrote last, (T, h, w).
        classes: How many classes it is bound for; 0 before the first set.
    """

    def __init__(
        self,
        networks: _Networks,
        layers: dict[str, GraphWeight],
        buffers: SlotBuffers,
        *,
        image: InputBuffer,
    ) -> None:
        self.request: Handle = None
        self.logits: Float32Array = np.zeros((0, 0, 0), np.float32)
        self.classes = 0
        self._networks = networks
        self._image = image
        self._buffers = buffers
        self._names = {name: layer.initializer for name, layer in layers.items()}
        self._features: Float32Array = np.zeros((0, 0), np.float32)
        self._tap: npt.NDArray[np.int64] = np.array([2], np.int64)

    def fill(self, weight_set: WeightSet, tap: int | None) -> None:
        """Write weights, text features and `tap`; bind anew where the class list has grown.

        Raises:
            EngineError: No network for that many classes.
        """
        if self.classes != len(weight_set.text_features):
            self._bind(weight_set.text_features)
        self._buffers.fill(weight_set.weights)
        np.copyto(self._features, weight_set.text_features)
        if tap is not None:
            self._tap[0] = tap

    def proved(self, proof: ProofSession, image: UInt8Array) -> Float32Array:
        """Return the logits of `image` with what this slot holds, computed by `proof`."""
        tap = int(self._tap[0]) if self._networks.second_tap else None
        return proof.logits(image, self._buffers.arrays, features=self._features, tap=tap)

    def _bind(self, features: Float32Array) -> None:
        network = self._networks.get(len(features))
        request = network.compiled.create_infer_request()
        self._features = np.empty(features.shape, np.float32)
        batch = np.zeros((1, len(features), *network.map_size), np.float32)
        bound: dict[str, Float32Array | npt.NDArray[np.int64]] = {
            "image": self._image.tensor,
            "text_features": self._features,
            "logits": batch,
            **{self._names[name]: array for name, array in self._buffers.arrays.items()},
        }
        if self._networks.second_tap:
            bound[SECOND_TAP] = self._tap
        for name, array in bound.items():
            request.set_tensor(name, self._networks.share(array))
        self.request, self.logits = request, batch.reshape(batch.shape[1:])
        self.classes = len(features)
