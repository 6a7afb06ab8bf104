"""What engines share that run the bundle's graph on weights in our own memory.

A prepared slot is proved by ONNX Runtime on those very weights, with one thread: threads of a
session are not niced, so more would take the cores that frames are computed on.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from semla_ros.bundle import AS_TRAINED, GraphWeight, ModelBundle
from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.bundle.onnx_session import ORT_ERRORS, cpu_threads, open_session
from semla_ros.core.errors import BundleError, EngineError
from semla_ros.core.types import Float32Array, UInt8Array
from semla_ros.core.weights import WeightSet
from semla_ros.engine.contract import EngineFacts
from semla_ros.engine.preprocess import InputBuffer
from semla_ros.engine.slot_buffers import SlotBuffers
from semla_ros.engine.slots import TwoSlotEngine
from semla_ros.engine.weights import SECOND_TAP, second_tap, shared_initializers

_BASE_TAP = 2


class SlotInputs:
    """What a graph reads of one weight set besides the image, in memory that stays.

    Attributes:
        features: Text features (T, D); a new array where T has changed.
    """

    def __init__(
        self,
        layers: Mapping[str, GraphWeight],
        base: BaseWeights,
        *,
        threads: int,
        has_text: bool,
        has_tap: bool,
    ) -> None:
        """Start with the base weights and no classes."""
        self._has_text = has_text
        self.features: Float32Array = np.zeros((0, 0), np.float32)
        self._buffers = SlotBuffers(layers, base, threads=threads)
        self._names = {name: layer.initializer for name, layer in layers.items()}
        self._tap = np.array([_BASE_TAP], np.int64) if has_tap else None

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Name of each input -> array."""
        inputs: dict[str, npt.NDArray[Any]] = {
            self._names[name]: array for name, array in self._buffers.arrays.items()
        }
        if self._has_text:
            inputs["text_features"] = self.features
        if self._tap is not None:
            inputs[SECOND_TAP] = self._tap
        return inputs

    def fill(self, weight_set: WeightSet, tap: int | None) -> None:
        """Write `weight_set`, and `tap` where the graph lets it be chosen.

        Raises:
            SemlaError: See `SlotBuffers.fill`.
        """
        self._buffers.fill(weight_set.weights)
        if self.features.shape != weight_set.text_features.shape:
            self.features = np.empty(weight_set.text_features.shape, np.float32)
        np.copyto(self.features, weight_set.text_features)
        if self._tap is not None:
            self._tap[0] = _BASE_TAP if tap is None else tap


class GraphEngine(TwoSlotEngine):
    """Two sets of a graph's inputs; subclasses bind them to their runtime."""

    def __init__(
        self,
        bundle: ModelBundle,
        facts: EngineFacts,
        *,
        threads: int,
        has_tap: bool,
        proof: onnxruntime.InferenceSession | None = None,
    ) -> None:
        """Allocate both slots.

        Args:
            bundle: The model.
            facts: What the engine is.
            threads: CPU threads; 0: all cores but one.
            has_tap: The graph lets the second tap be chosen.
            proof: A session of one thread that proves may run on; None: one is opened for them.

        Raises:
            BundleError: Graph, weights and manifest do not fit each other.
        """
        if bundle.manifest.adapter_guidance == AS_TRAINED and not has_tap:
            raise BundleError(
                f"segmentation.onnx: expected an input {SECOND_TAP!r} as the manifest's "
                f"adapter_guidance {AS_TRAINED!r} needs it, found none: rebuild the bundle"
            )
        super().__init__(facts)
        base = BaseWeights.open(bundle)
        threads = cpu_threads(threads)
        self._bundle = bundle
        self._input = InputBuffer(facts.size)
        self._inputs = [
            SlotInputs(
                facts.layers,
                base,
                threads=threads,
                has_text=facts.feature_dim != 0,
                has_tap=has_tap,
            )
            for _ in range(2)
        ]
        self._proof_input = InputBuffer(facts.size)
        self._proof = proof
        self._shared = shared_initializers(bundle, facts.layers)
        if dim := bundle.manifest.shared_dim:
            self._embedding = np.zeros((1, dim), np.float32)

    @abstractmethod
    def _bind(self, index: int) -> None:
        """Let slot `index` be computed with what its inputs are now."""

    def _prepare_impl(self, index: int, weight_set: WeightSet) -> None:
        self._inputs[index].fill(weight_set, second_tap(self._bundle, weight_set.mix))
        self._bind(index)

    def _prove_impl(self, index: int, image: UInt8Array) -> Float32Array | None:
        self._proof_input.load(image)
        inputs = {**self._inputs[index].arrays, "image": self._proof_input.tensor}
        try:
            if self._proof is None:
                graph = self._bundle.segmentation_graph
                self._proof = open_session(graph, threads=1, shared=self._shared)
            binding = self._proof.io_binding()
            for name, array in inputs.items():
                bind_input(binding, name, array)
            binding.bind_output("logits")
            self._proof.run_with_iobinding(binding)
            (logits,) = binding.copy_outputs_to_cpu()
        except ORT_ERRORS as error:
            raise EngineError(f"ONNX Runtime failed on the proof of a swap: {error}") from error
        proved: Float32Array = logits[0]
        return proved

    def _close_impl(self) -> None:
        self._proof = None
        self._inputs.clear()


def bind_input(binding: onnxruntime.IOBinding, name: str, array: npt.NDArray[Any]) -> None:
    """Bind `array` without a copy; what is written to it later is what the graph reads."""
    binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))


def bind_output(binding: onnxruntime.IOBinding, name: str, array: npt.NDArray[Any]) -> None:
    """Bind `array` without a copy; the graph writes its answer into it."""
    binding.bind_ortvalue_output(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
