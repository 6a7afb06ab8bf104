# ruff: noqa: N802  the driver's own names
"""libcuda on the CPU: device memory is host memory, and nothing runs."""

from __future__ import annotations

import ctypes

_ERRORS = {1: b"CUDA_ERROR_INVALID_VALUE", 2: b"CUDA_ERROR_OUT_OF_MEMORY"}


class Driver:
    """libcuda: device memory is host memory, both ends of a copy must have been allocated.

    Attributes:
        calls: Names of all calls.
        fail: Name -> code that it answers instead.
    """

    def __init__(self) -> None:
        self.devices, self.retained = 1, 0
        self.calls: list[str] = []
        self.fail: dict[str, int] = {}
        self.device: dict[int, ctypes.Array] = {}
        self.host: dict[int, ctypes.Array] = {}
        self.streams: dict[int, int] = {}

    def __getattribute__(self, name):
        value = object.__getattribute__(self, name)
        if not name.startswith("cu"):
            return value

        def call(*arguments):
            self.calls.append(name)
            return self.fail.get(name) or value(*arguments) or 0

        return call

    @property
    def left(self) -> tuple[int, ...]:
        """What was not given back: device and host memory, streams, contexts."""
        return len(self.device), len(self.host), len(self.streams), self.retained

    def cuInit(self, flags): ...
    def cuDeviceGet(self, out, ordinal): ...
    def cuCtxSetCurrent(self, context): ...

    def cuGetErrorName(self, code, out):
        out._obj.value = _ERRORS.get(code.value, b"CUDA_ERROR_UNKNOWN")

    def cuDeviceGetCount(self, out):
        out._obj.value = self.devices

    def cuDeviceGetName(self, out, size, device):
        out.value = b"Fake GPU"

    def cuDeviceGetAttribute(self, out, which, device):
        out._obj.value = {75: 8, 76: 7}[which.value]

    def cuDriverGetVersion(self, out):
        out._obj.value = 12040

    def cuDevicePrimaryCtxRetain(self, out, device):
        self.retained += 1
        out._obj.value = 77

    def cuDevicePrimaryCtxRelease_v2(self, device):
        self.retained -= 1

    def cuMemGetInfo_v2(self, free, total):
        free._obj.value = 2**32 - sum(map(len, self.device.values()))

    def cuMemAlloc_v2(self, out, size):
        self._allocate(self.device, out, size.value)

    def cuMemHostAlloc(self, out, size, flags):
        self._allocate(self.host, out, size.value)

    def cuMemFree_v2(self, pointer):
        del self.device[pointer.value]

    def cuMemFreeHost(self, pointer):
        del self.host[pointer.value]

    def cuMemcpyHtoDAsync_v2(self, target, source, size, stream):
        return self._copy(target.value, self.device, source.value, self.host, size.value, stream)

    def cuMemcpyDtoHAsync_v2(self, target, source, size, stream):
        return self._copy(target.value, self.host, source.value, self.device, size.value, stream)

    def cuCtxGetStreamPriorityRange(self, lowest, highest):
        lowest._obj.value, highest._obj.value = 0, -5

    def cuStreamCreateWithPriority(self, out, flags, priority):
        out._obj.value = 1000 + len(self.calls)
        self.streams[out._obj.value] = priority.value

    def cuStreamSynchronize(self, stream):
        return stream.value not in self.streams

    def cuStreamDestroy_v2(self, stream):
        del self.streams[stream.value]

    def _allocate(self, blocks, out, size):
        memory = ctypes.create_string_buffer(size)
        ctypes.memset(memory, 0xA5, size)  # nobody clears memory
        out._obj.value = ctypes.addressof(memory)
        blocks[out._obj.value] = memory

    def _copy(self, target, targets, source, sources, size, stream):
        if not (inside(target, size, targets) and inside(source, size, sources)):
            return 1
        ctypes.memmove(target, source, size)
        return stream.value not in self.streams


def inside(pointer: int, size: int, blocks: dict[int, ctypes.Array]) -> bool:
    return any(
        start <= pointer and pointer + size <= start + len(b) for start, b in blocks.items()
    )
