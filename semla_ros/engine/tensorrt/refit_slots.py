"""Two engines whose weights are refitted in turn: what `scripts/gpu_check` compares inputs with.

The node never serves with this. Needs TensorRT 10.2: single refittable weights, read from device
memory on a stream, with contexts that survive.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.bundle.manifest import GraphWeight
from semla_ros.core.errors import EngineError
from semla_ros.core.weights import WeightSource
from semla_ros.engine.tensorrt.tensors import dtype_of
from semla_ros.engine.tensorrt.toolkit import Toolkit, asked
from semla_ros.engine.tensorrt.weight_slots import WeightBlock


class RefitSlots:
    """Two engines of one plan; both refitters read the same block of device memory."""

    def __init__(
        self,
        toolkit: Toolkit,
        engines: tuple[Any, Any],  # trt.ICudaEngine
        layers: Mapping[str, GraphWeight],
        base: BaseWeights,
    ) -> None:
        """Name every weight to both refitters, once; later sets go to the same addresses.

        Raises:
            EngineError: The refittable weights are not those of `layers`, or are refused.
        """
        trt, self._cuda = toolkit.trt, toolkit.cuda
        self._engines = list(engines)
        self._contexts: list[Any] = [
            asked("makes no context", each.create_execution_context) for each in engines
        ]
        self._refitters: list[Any] = [
            asked("makes no refitter", lambda: trt.Refitter(each, toolkit.logger))  # noqa: B023
            for each in engines
        ]
        dtypes = _dtypes(self._refitters[0], layers)
        self._block = WeightBlock(toolkit.cuda, layers, base, dtypes)
        self._device = toolkit.cuda.allocate(self._block.memory.nbytes)
        for refitter in self._refitters:
            for name, layer in layers.items():
                self._attach(trt, refitter, name, layer.initializer)

    def load(self, index: int, weights: WeightSource, *, stream: int) -> None:
        """Refit engine `index` with a whole set and wait until it is in place.

        Raises:
            SemlaError: A weight is not finite or does not fit, or TensorRT refuses.
        """
        self._block.write(weights)
        self._cuda.upload(self._device, self._block.memory, stream=stream)
        refitter = self._refitters[index]
        asked("refuses to refit", lambda: refitter.refit_cuda_engine_async(stream))
        self._cuda.synchronize(stream)

    def slot(self, index: int) -> tuple[Any, Mapping[str, int]]:
        """Return the context of engine `index`; its weights are in it."""
        return self._contexts[index], {}

    def close(self) -> None:
        """Drop refitters, contexts and engines; the binding frees them with their last names."""
        for held in (self._refitters, self._contexts, self._engines):
            held.clear()

    def _attach(self, trt: Any, refitter: Any, name: str, initializer: str) -> None:  # noqa: ANN401  trt
        array = self._block.arrays[name]
        kind = trt.DataType.HALF if array.dtype == np.float16 else trt.DataType.FLOAT
        weights = trt.Weights(kind, self._device + self._block.offsets[name], array.size)
        place = trt.TensorLocation.DEVICE
        asked(
            f"refuses weight {initializer!r}",
            lambda: refitter.set_named_weights(initializer, weights, place),
        )


def _dtypes(refitter: Any, layers: Mapping[str, GraphWeight]) -> dict[str, Any]:  # noqa: ANN401  trt.Refitter
    """Return layer name -> the dtype that the plan wants of it."""
    names = {layer.initializer for layer in layers.values()}
    if differ := sorted(names ^ set(refitter.get_all_weights())):
        raise EngineError(f"the plan's refittable weights are not the bundle's: {differ[:3]!r}")
    return {
        name: dtype_of(refitter.get_weights_prototype(layer.initializer).dtype)
        for name, layer in layers.items()
    }
