"""Two engines whose weights are refitted in turn: what `scripts/gpu_check` compares inputs with.

The node never serves with this. Needs TensorRT 10.2: single refittable weights, read from device
memory on a stream, with contexts that survive.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from semla_ros.engine.tensorrt.tensors import dtype_of
from semla_ros.engine.tensorrt.toolkit import API_ERRORS, Toolkit
from semla_ros.engine.tensorrt.weight_slots import WeightBlock
from semla_ros.errors import EngineError
from semla_ros.manifest import GraphWeight
from semla_ros.types import Float32Array


class RefitSlots:
    """Two engines of one plan; both refitters read the same block of device memory."""

    def __init__(
        self,
        toolkit: Toolkit,
        engines: tuple[Any, Any],  # trt.ICudaEngine
        base: Mapping[str, Float32Array],
        layers: Mapping[str, GraphWeight],
    ) -> None:
        """Name every weight to both refitters, once; later sets go to the same addresses.

        Raises:
            EngineError: The refittable weights are not those of `layers`, or are refused.
        """
        self._cuda = toolkit.cuda
        self._contexts: list[Any] = [toolkit.context(engine) for engine in engines]
        try:
            self._refitters: list[Any] = [
                toolkit.trt.Refitter(engine, toolkit.logger) for engine in engines
            ]
        except API_ERRORS as error:
            raise EngineError(f"the plan cannot be refitted: {error}") from error
        dtypes = _dtypes(self._refitters[0], layers)
        self._block = WeightBlock(toolkit, layers, base, dtypes)
        self._device = toolkit.cuda.allocate(self._block.memory.nbytes)
        for refitter in self._refitters:
            self._attach(toolkit.trt, refitter, layers)

    def load(self, index: int, weights: Mapping[str, Float32Array], *, stream: int) -> None:
        """Refit engine `index` with a whole set and wait until it is in place.

        Raises:
            SemlaError: A weight is not finite or does not fit, or TensorRT refuses.
        """
        self._block.write(weights)
        self._cuda.upload(self._device, self._block.memory, stream=stream)
        try:
            taken = self._refitters[index].refit_cuda_engine_async(stream)
        except API_ERRORS as error:
            raise EngineError(f"TensorRT failed while refitting: {error}") from error
        self._cuda.synchronize(stream)
        if not taken:
            raise EngineError("TensorRT refused to refit: see its messages above")

    def slot(self, index: int) -> tuple[Any, Mapping[str, int]]:
        """Return the context of engine `index`; its weights are in it."""
        return self._contexts[index], {}

    def close(self) -> None:
        """Drop refitters and contexts; the binding frees them with their last names."""
        self._refitters.clear()
        self._contexts.clear()

    def _attach(self, trt: Any, refitter: Any, layers: Mapping[str, GraphWeight]) -> None:  # noqa: ANN401  trt
        for name, layer in layers.items():
            array = self._block.arrays[name]
            kind = trt.DataType.HALF if array.dtype == np.float16 else trt.DataType.FLOAT
            weights = trt.Weights(kind, self._device + self._block.offsets[name], array.size)
            place = trt.TensorLocation.DEVICE
            if not refitter.set_named_weights(layer.initializer, weights, place):
                raise EngineError(f"TensorRT refuses weight {layer.initializer!r}")


def _dtypes(refitter: Any, layers: Mapping[str, GraphWeight]) -> dict[str, Any]:  # noqa: ANN401  trt.Refitter
    """Return layer name -> the dtype that the plan wants of it."""
    names = {layer.initializer for layer in layers.values()}
    refittable = set(refitter.get_all_weights())
    if refittable != names:
        differ = sorted(refittable ^ names)[:3]
        raise EngineError(f"the plan's refittable weights are not the bundle's: {differ!r}")
    wanted = {}
    for name, layer in layers.items():
        prototype = refitter.get_weights_prototype(layer.initializer)
        if prototype.size != math.prod(layer.shape):
            raise EngineError(
                f"weight {layer.initializer!r}: expected {math.prod(layer.shape)} values, the "
                f"plan wants {prototype.size}: build it again"
            )
        wanted[name] = dtype_of(prototype.dtype)
    return wanted
