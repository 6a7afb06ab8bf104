"""One run of an engine: where its inputs and outputs lie, and how it is enqueued."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from semla_ros.engine.tensorrt.cuda import Cuda, DeviceBuffer, PinnedArray
from semla_ros.errors import EngineError


class Mirror:
    """A tensor in page-locked host memory and on the device; the larger shapes come first.

    Attributes:
        host: What is copied; `reshape` changes what part of the memory it shows.
    """

    def __init__(self, cuda: Cuda, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        """Allocate for at most `shape`."""
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        self._cuda = cuda
        self._pinned = PinnedArray(cuda, nbytes)
        try:
            self._device = DeviceBuffer(cuda, nbytes)
        except EngineError:
            self._pinned.free()
            raise
        self._dtype = np.dtype(dtype)
        self.host: npt.NDArray[Any] = self._view(shape)
        self.host[...] = 0

    @property
    def pointer(self) -> int:
        """Device address."""
        return self._device.pointer

    def reshape(self, shape: tuple[int, ...]) -> None:
        """Show `shape` from now on, which needs no more memory than the first one."""
        if shape != self.host.shape:
            self.host = self._view(shape)

    def upload(self, stream: int) -> None:
        """Enqueue the copy to the device."""
        self._cuda.upload(
            self._device.pointer, self._pinned.pointer, self.host.nbytes, stream=stream
        )

    def download(self, stream: int) -> None:
        """Enqueue the copy to the host."""
        self._cuda.download(
            self._pinned.pointer, self._device.pointer, self.host.nbytes, stream=stream
        )

    def free(self) -> None:
        """Give both memories back."""
        self.host = np.zeros(0, self._dtype)
        self._pinned.free()
        self._device.free()

    def _view(self, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        nbytes = math.prod(shape) * self._dtype.itemsize
        return self._pinned.bytes[:nbytes].view(self._dtype).reshape(shape)


@dataclass(frozen=True, slots=True)
class Feed:
    """Everything one run reads and writes.

    Attributes:
        inputs: Name -> tensor.
        output: Name and tensor of the output.
        weights: Name -> device address, where weights are inputs.
        shaped: Names of inputs whose shape must be said before a run.
    """

    inputs: Mapping[str, Mirror]
    output: tuple[str, Mirror]
    weights: Mapping[str, int] = field(default_factory=dict)
    shaped: tuple[str, ...] = ()


def enqueue(context: Any, feed: Feed, *, stream: int) -> None:  # noqa: ANN401  trt context
    """Put one run of `context` with `feed` on `stream`.

    Raises:
        EngineError: TensorRT does not take an address or a shape, or does not start.
    """
    name, output = feed.output
    addresses = {key: mirror.pointer for key, mirror in feed.inputs.items()}
    for tensor, pointer in {**addresses, **feed.weights, name: output.pointer}.items():
        if not context.set_tensor_address(tensor, pointer):
            raise EngineError(f"TensorRT knows no tensor {tensor!r}: build the plan again")
    for tensor in feed.shaped:
        shape = feed.inputs[tensor].host.shape
        if not context.set_input_shape(tensor, shape):
            raise EngineError(
                f"TensorRT takes no {tensor!r} of shape {shape!r}: build a plan for it"
            )
    if not context.execute_async_v3(stream):
        raise EngineError("TensorRT did not start the run: see its messages above")


def tensor_names(engine: Any) -> tuple[str, ...]:  # noqa: ANN401  trt.ICudaEngine
    """Return the names of all inputs and outputs of `engine`."""
    return tuple(engine.get_tensor_name(i) for i in range(engine.num_io_tensors))
