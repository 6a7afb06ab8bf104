"""Where refitters read weights: one block whose addresses never change."""

from __future__ import annotations

from typing import Any

import numpy as np

from semla_ros.engine.tensorrt.cuda import DeviceBuffer
from semla_ros.engine.tensorrt.staging import HostBlock, Layout
from semla_ros.engine.tensorrt.toolkit import Toolkit
from semla_ros.errors import EngineError


class RefitWire:
    """Where refitters read weights, the same addresses for ever; all slots may share it.

    On a TensorRT that reads device memory it is a block there, else one on the host.
    """

    def __init__(self, toolkit: Toolkit, layout: Layout) -> None:
        """Allocate a block of `layout`."""
        self._toolkit = toolkit
        self._layout = layout
        self._device: DeviceBuffer | None = None
        self._host: HostBlockMemory | None = None
        if toolkit.features.device_weights:
            self._device = DeviceBuffer(toolkit.cuda, layout.nbytes)
        else:
            self._host = HostBlockMemory(layout)

    def load(self, block: HostBlock, *, stream: int) -> None:
        """Bring the set in `block` here, with one copy."""
        if self._device is not None:
            pointer = block.memory.ctypes.data
            self._toolkit.cuda.upload(
                self._device.pointer, pointer, self._layout.nbytes, stream=stream
            )
        elif self._host is not None:
            np.copyto(self._host.memory, block.memory)

    def attach(self, refitter: Any) -> None:  # noqa: ANN401  trt.Refitter
        """Name this memory to `refitter`, every weight once.

        Raises:
            EngineError: A weight is refused.
        """
        trt = self._toolkit.trt
        for name, place in self._layout.places.items():
            initializer = place.layer.initializer
            if self._device is not None:
                kind = trt.DataType.HALF if place.dtype == np.float16 else trt.DataType.FLOAT
                weights = trt.Weights(kind, self._device.pointer + place.offset, place.count)
                taken = refitter.set_named_weights(initializer, weights, trt.TensorLocation.DEVICE)
            else:
                taken = self._host is not None and refitter.set_named_weights(
                    initializer, trt.Weights(self._host.arrays[name])
                )
            if not taken:
                raise EngineError(f"TensorRT refuses weight {initializer!r}: build the plan again")

    def close(self) -> None:
        """Give the memory back; no refitter may be left."""
        if self._device is not None:
            self._device.free()
        self._host = None


class HostBlockMemory:
    """A block in ordinary memory, flat for every weight, as `trt.Weights` takes numpy arrays."""

    def __init__(self, layout: Layout) -> None:
        """Allocate for `layout`."""
        self.memory = np.zeros(layout.nbytes, np.uint8)
        self.arrays = {
            name: self.memory[place.offset : place.offset + place.nbytes].view(place.dtype)
            for name, place in layout.places.items()
        }
