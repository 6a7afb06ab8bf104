"""OpenVINO with the merged weights as constants: every swap compiles the network anew."""

from __future__ import annotations

import importlib
from typing import Any, ClassVar

import numpy as np

from semla_ros.bench.candidates import Candidate, Material, MixedWeights
from semla_ros.bundle.onnx_session import cpu_threads
from semla_ros.core.errors import EngineUnavailableError
from semla_ros.core.types import AdapterMix, Float32Array, UInt8Array
from semla_ros.engine.openvino_graph import open_core, resolved_precision
from semla_ros.engine.preprocess import InputBuffer


class CompiledAnew(Candidate):
    """Replaces the constants of the adaptable layers and compiles."""

    name: ClassVar[str] = "OpenVINO: compile the network anew"

    def __init__(self, material: Material, *, precision: str = "auto") -> None:
        """Read the graph.

        Raises:
            EngineUnavailableError: OpenVINO is missing, or its reader kept no constant of a
                layer.
        """
        openvino = open_core()
        chosen = resolved_precision(openvino, precision)
        self.runtime = f"openvino {chosen}"
        self._core: Any = openvino.core
        self._make_constant: Any = importlib.import_module("openvino.opset13").constant
        self._settings = {
            "INFERENCE_PRECISION_HINT": chosen,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": cpu_threads(material.threads),
            "ENABLE_CPU_PINNING": False,
        }
        self._weights = MixedWeights(material)
        self._input = InputBuffer(material.bundle.manifest.segmentation.shape)
        self._model: Any = self._core.read_model(str(material.bundle.segmentation_graph))
        classes = len(material.bundle.manifest.vocabulary.names)
        width = self._model.input("text_features").get_partial_shape()[1].get_length()
        self._model.reshape({"image": self._input.tensor.shape, "text_features": [classes, width]})
        self._constants = self._find_constants()
        self._next: tuple[Any, Float32Array] | None = None
        self._active: tuple[Any, Float32Array] | None = None

    def prepare(self, mix: AdapterMix) -> None:
        """Replace the constants and compile."""
        weight_set = self._weights.of(mix)
        for name, layer in self._weights.layers.items():
            if name not in weight_set.weights.names:
                continue
            weight: Float32Array = np.empty(layer.graph_shape, np.float32)
            weight_set.weights.write(name, out=weight, transposed=layer.transposed)
            fresh = self._make_constant(weight)
            fresh.set_friendly_name(layer.initializer)
            for reader in self._constants[name].output(0).get_target_inputs():
                reader.replace_source_output(fresh.output(0))
            self._constants[name] = fresh
        compiled = self._core.compile_model(self._model, "CPU", self._settings)
        self._next = (compiled.create_infer_request(), weight_set.text_features)

    def commit(self) -> None:
        """Use the new network, drop the old one."""
        self._active, self._next = self._next, None

    def logits(self, rgb: UInt8Array) -> Float32Array:
        """Return logits (T, h, w)."""
        if self._active is None:
            raise RuntimeError("logits before the first commit")
        self._input.load(rgb)
        request, features = self._active
        found = request.infer({"image": self._input.tensor, "text_features": features})
        logits: Float32Array = found["logits"][0].copy()
        return logits

    def close(self) -> None:
        """Drop the networks."""
        self._active = self._next = None

    def _find_constants(self) -> dict[str, Any]:
        named = {op.get_friendly_name(): op for op in self._model.get_ops()}
        found = {n: named.get(layer.initializer) for n, layer in self._weights.layers.items()}
        missing = sorted(name for name, op in found.items() if op is None)
        if missing:
            raise EngineUnavailableError(
                f"OpenVINO's reader kept no constant of {missing[:3]!r}: this version merges them"
            )
        return found
