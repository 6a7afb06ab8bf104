"""Inputs and outputs of an engine, on both sides of the bus, and how a run is put on a stream."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from semla_ros.core.errors import EngineError
from semla_ros.engine.tensorrt.cuda import Cuda

_DTYPES: Mapping[str, npt.DTypeLike] = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "INT32": np.int32,
    "INT64": np.int64,
}
"""Name of TensorRT's DataType -> numpy; `tensorrt.nptype` of 8.x fails with numpy 1.24."""


class Mirror:
    """An input or output of an engine, in page-locked host memory and on the device.

    Attributes:
        host: What `upload` copies from and `download` to.
        pointer: Device address.
    """

    def __init__(self, cuda: Cuda, engine: Any, name: str) -> None:  # noqa: ANN401  trt.ICudaEngine
        """Allocate for the tensor `name` of `engine`."""
        shape = tuple(engine.get_tensor_shape(name))
        dtype = np.dtype(dtype_of(engine.get_tensor_dtype(name)))
        nbytes = math.prod(shape) * dtype.itemsize
        self._cuda = cuda
        self.host: npt.NDArray[Any] = cuda.pinned(nbytes).view(dtype).reshape(shape)
        self.pointer = cuda.allocate(nbytes)

    def upload(self, stream: int) -> None:
        """Enqueue the copy to the device."""
        self._cuda.upload(self.pointer, self.host, stream=stream)

    def download(self, stream: int) -> None:
        """Enqueue the copy to the host."""
        self._cuda.download(self.host, self.pointer, stream=stream)


def dtype_of(kind: Any) -> npt.DTypeLike:  # noqa: ANN401  trt.DataType
    """Return numpy's name for `kind`.

    Raises:
        EngineError: No graph of ours has that type.
    """
    if kind.name not in _DTYPES:
        raise EngineError(f"expected types {tuple(_DTYPES)!r} in the plan, got {kind.name!r}")
    return _DTYPES[kind.name]


def require_tensors(engine: Any, expected: Mapping[str, tuple[int, ...]]) -> None:  # noqa: ANN401  trt.ICudaEngine
    """Check that the inputs and outputs of `engine` are exactly those `expected`.

    Args:
        engine: The engine.
        expected: Shape by name; -1 where any length will do.

    Raises:
        EngineError: Names or shapes are others.
    """
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    found = {name: tuple(engine.get_tensor_shape(name)) for name in names}
    for name in sorted(found.keys() | expected.keys()):
        got, want = found.get(name, ()), expected.get(name, ())
        fits = len(got) == len(want) and all(w in (-1, g) for g, w in zip(got, want, strict=True))
        if not fits or name not in found or name not in expected:
            raise EngineError(f"tensor {name!r} of the plan: expected {want!r}, got {got!r}")


def enqueue(context: Any, addresses: Mapping[str, int], *, stream: int) -> None:  # noqa: ANN401  trt context
    """Put one run of `context` on `stream`, every tensor at its device address.

    Raises:
        EngineError: TensorRT does not take an address, or does not start.
    """
    for name, pointer in addresses.items():
        if not context.set_tensor_address(name, pointer):
            raise EngineError(f"TensorRT knows no tensor {name!r}: build the plan again")
    if not context.execute_async_v3(stream):
        raise EngineError("TensorRT did not start the run: see its messages above")
