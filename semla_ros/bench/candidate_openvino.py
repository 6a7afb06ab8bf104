"""OpenVINO with the merged weights as constants: every swap compiles the network anew."""

from __future__ import annotations

import importlib
from typing import Any, ClassVar

import numpy as np

from semla_ros.bench.candidates import MadeAnew, Material, Network
from semla_ros.bundle.onnx_session import cpu_threads
from semla_ros.core.errors import EngineUnavailableError
from semla_ros.core.types import Float32Array
from semla_ros.core.weights import WeightSet
from semla_ros.engine.openvino_graph import open_core, resolved_precision


class CompiledAnew(MadeAnew):
    """Replaces the constants of the adaptable layers and compiles."""

    name: ClassVar[str] = "OpenVINO: compile the network anew"

    def __init__(self, material: Material, *, precision: str = "auto") -> None:
        """Read the graph.

        Raises:
            EngineUnavailableError: OpenVINO is missing, or its reader kept no constant of a
                layer.
        """
        super().__init__(material)
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
        self._model: Any = self._core.read_model(str(material.bundle.segmentation_graph))
        classes = len(material.bundle.manifest.vocabulary.names)
        width = self._model.input("text_features").get_partial_shape()[1].get_length()
        self._model.reshape({"image": self._input.tensor.shape, "text_features": [classes, width]})
        self._constants = self._find_constants()

    def _made(self, weight_set: WeightSet) -> Network:
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
        request = compiled.create_infer_request()
        return lambda feed: np.array(request.infer(dict(feed))["logits"][0], np.float32)

    def _find_constants(self) -> dict[str, Any]:
        named = {op.get_friendly_name(): op for op in self._model.get_ops()}
        found = {n: named.get(layer.initializer) for n, layer in self._weights.layers.items()}
        missing = sorted(name for name, op in found.items() if op is None)
        if missing:
            raise EngineUnavailableError(
                f"OpenVINO's reader kept no constant of {missing[:3]!r}: this version merges them"
            )
        return found
