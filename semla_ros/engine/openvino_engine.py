"""OpenVINO on the CPU: adaptable weights are inputs in our own memory, bfloat16 where it is fast.

OpenVINO's reader makes constants of overridable initializers; they are turned back into inputs.
Networks are compiled for one number of classes, in `prepare`, never in the frame loop. Both slots
share one compiled network and have an infer request each, bound once to the slot's memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from semla_ros.bundle import ModelBundle
from semla_ros.bundle.onnx_session import cpu_threads
from semla_ros.core.errors import EngineError, EngineUnavailableError
from semla_ros.core.types import Float32Array, UInt8Array
from semla_ros.engine.contract import EngineFacts
from semla_ros.engine.graph_engine import GraphEngine, SlotInputs
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
from semla_ros.engine.options import EngineOptions
from semla_ros.engine.preprocess import InputBuffer
from semla_ros.engine.weights import SEGMENTATION_GRAPH, layers_of

_ERROR = RuntimeError
"""What OpenVINO raises."""


class OpenVinoEngine(GraphEngine):
    """The fastest engine on CPUs that multiply bfloat16."""

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
        openvino = open_core()
        layers = layers_of(bundle, SEGMENTATION_GRAPH)
        spec = bundle.manifest.segmentation
        graph = read_graph(openvino, bundle.segmentation_graph, layers, bundle.manifest)
        facts = EngineFacts(
            "openvino",
            layers,
            spec.shape,
            graph.feature_dim,
            spec.max_classes,
            precision=resolved_precision(openvino, options.precision),
            reason=options.reason,
            identity=identity(openvino),
            activation=spec.activation,
        )
        super().__init__(bundle, facts, threads=options.threads, has_tap=graph.second_tap)
        threads = cpu_threads(options.threads)
        self._networks = _Networks(openvino, graph, precision=facts.precision, threads=threads)
        try:
            self._networks.get(len(bundle.manifest.vocabulary.names))
        except EngineError as error:
            raise EngineUnavailableError(f"engine 'openvino': {error}") from error
        self._slots = [
            _BoundSlot(self._networks, each, image=self._input, embedding=self._embedding)
            for each in self._inputs
        ]

    def _bind(self, index: int) -> None:
        try:
            self._slots[index].bind()
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

    def _close_impl(self) -> None:
        super()._close_impl()
        self._slots.clear()
        self._networks.close()


def open_engine(bundle: ModelBundle, *, options: EngineOptions) -> OpenVinoEngine:
    """Return the engine of `bundle`, see `OpenVinoEngine`."""
    return OpenVinoEngine(bundle, options=options)


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

    def share(self, array: npt.NDArray[Any]) -> Handle:
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
            model.reshape(graph.shapes(classes))
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
    """The infer request that reads one slot's inputs.

    Attributes:
        request: Runs the network with what the slot holds.
        logits: What it wrote last, (T, h, w).
        classes: How many classes it is bound for; 0 before the first set.
    """

    def __init__(
        self,
        networks: _Networks,
        inputs: SlotInputs,
        *,
        image: InputBuffer,
        embedding: Float32Array | None,
    ) -> None:
        self.request: Handle = None
        self.logits: Float32Array = np.zeros((0, 0, 0), np.float32)
        self.classes = 0
        self._networks = networks
        self._inputs = inputs
        self._image = image
        self._embedding = embedding

    def bind(self) -> None:
        """Bind the inputs anew where the number of classes has changed.

        Raises:
            EngineError: No network for that many classes.
        """
        classes = len(self._inputs.features)
        if classes == self.classes:
            return
        self.classes = 0  # until it is bound: the array of features is another one
        network = self._networks.get(classes)
        request = network.compiled.create_infer_request()
        batch = np.zeros((1, classes, *network.map_size), np.float32)
        bound = {**self._inputs.arrays, "image": self._image.tensor, "logits": batch}
        if self._embedding is not None:
            bound["embedding"] = self._embedding
        for name, array in bound.items():
            request.set_tensor(name, self._networks.share(array))
        self.request, self.logits = request, batch.reshape(batch.shape[1:])
        self.classes = classes
