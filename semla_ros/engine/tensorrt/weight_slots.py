"""Where the two weight sets lie that an engine reads as inputs: nothing in the engine changes.

A set is merged from W0 layer by layer into one block of page-locked memory, rounded once to what
the engine reads, and copied to the idle of two blocks on the device. A swap is other addresses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.bundle.manifest import GraphWeight
from semla_ros.core.errors import EngineError
from semla_ros.core.types import Float32Array
from semla_ros.core.weights import WeightSource
from semla_ros.engine.tensorrt.cuda import Cuda
from semla_ros.engine.tensorrt.tensors import dtype_of
from semla_ros.engine.tensorrt.toolkit import Toolkit, asked

ALIGNMENT = 256
"""Bytes; what cudaMalloc gives, too."""


class WeightBlock:
    """One whole weight set in page-locked memory, every weight at a fixed place.

    Attributes:
        memory: (n,) uint8, all of it.
        offsets: Layer name -> bytes from the start; the same in blocks on the device.
        arrays: Layer name -> float16 or float32 in the layout of the graph.
    """

    def __init__(
        self,
        cuda: Cuda,
        layers: Mapping[str, GraphWeight],
        base: BaseWeights,
        dtypes: Mapping[str, npt.DTypeLike],
    ) -> None:
        """Allocate.

        Args:
            cuda: The GPU.
            layers: Adaptable layers by name.
            base: W0, for layers that a set leaves out.
            dtypes: Layer name -> float32 or float16.
        """
        self._layers, self._base = layers, base
        self.offsets: dict[str, int] = {}
        sizes: dict[str, int] = {}
        end = 0
        for name, layer in layers.items():
            self.offsets[name] = end
            sizes[name] = math.prod(layer.shape) * np.dtype(dtypes[name]).itemsize
            end += -(-sizes[name] // ALIGNMENT) * ALIGNMENT
        self.memory = cuda.pinned(max(end, ALIGNMENT))
        self.arrays: dict[str, npt.NDArray[Any]] = {
            name: self.memory[start : start + sizes[name]]
            .view(dtypes[name])
            .reshape(layers[name].graph_shape)
            for name, start in self.offsets.items()
        }

    def write(self, weights: WeightSource) -> None:
        """Write the whole set: `weights`, and W0 of every layer that they leave out.

        Raises:
            EngineError: A value does not fit the engine's type; the block is then half written.
        """
        for name, layer in self._layers.items():
            target = self.arrays[name]
            narrow = target.dtype != np.float32
            wide = np.empty(target.shape, np.float32) if narrow else target
            if name in weights.names:
                weights.write(name, out=wide, transposed=layer.transposed)
            else:
                np.copyto(wide, self._base.as_stored(name))
            if narrow:
                _round(name, wide, out=target)


def _round(name: str, wide: Float32Array, *, out: npt.NDArray[Any]) -> None:
    """Round `wide` to the nearest float16 in `out`."""
    limit, largest = float(np.finfo(out.dtype).max), float(np.abs(wide).max(initial=0.0))
    if largest > limit:
        raise EngineError(
            f"weight {name!r}: expected values up to {limit:g} for {out.dtype}, got {largest:g}: "
            "take precision f32"
        )
    np.copyto(out, wide, casting="same_kind")


class InputSlots:
    """One engine, one context, two weight sets on the device."""

    def __init__(
        self,
        toolkit: Toolkit,
        engine: Any,  # noqa: ANN401  trt.ICudaEngine
        layers: Mapping[str, GraphWeight],
        base: BaseWeights,
    ) -> None:
        """Allocate both sets on the device.

        Raises:
            EngineError: There is no memory.
        """
        dtypes = {n: dtype_of(engine.get_tensor_dtype(x.initializer)) for n, x in layers.items()}
        block = WeightBlock(toolkit.cuda, layers, base, dtypes)
        self._cuda, self._block = toolkit.cuda, block
        self._engine: Any = engine
        self._context: Any = asked("makes no context", engine.create_execution_context)
        self._blocks = [toolkit.cuda.allocate(block.memory.nbytes) for _ in range(2)]
        self._addresses = [
            {layer.initializer: start + block.offsets[name] for name, layer in layers.items()}
            for start in self._blocks
        ]

    def load(self, index: int, weights: WeightSource, *, stream: int) -> None:
        """Write a set to slot `index` and wait until it is there.

        Raises:
            SemlaError: A weight is not finite or does not fit, or the copy failed.
        """
        self._block.write(weights)
        self._cuda.upload(self._blocks[index], self._block.memory, stream=stream)
        self._cuda.synchronize(stream)

    def slot(self, index: int) -> tuple[Any, Mapping[str, int]]:
        """Return the context that computes with slot `index`, and its weights' addresses."""
        return self._context, self._addresses[index]

    def close(self) -> None:
        """Drop context and engine; the binding frees them with their last names."""
        self._context = self._engine = None
