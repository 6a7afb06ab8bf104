# ruff: noqa: N802  the driver's own names
"""A CUDA driver on the CPU: device memory is host memory, every pointer is checked.

Streams run at once. What is allocated and not freed is counted, so a test can see a leak.
"""

from __future__ import annotations

import ctypes

DRIVER_VERSION = 12040
ERRORS = {
    2: b"CUDA_ERROR_OUT_OF_MEMORY",
    100: b"CUDA_ERROR_NO_DEVICE",
    1: b"CUDA_ERROR_INVALID_VALUE",
}


class FakeDriver:
    def __init__(self, *, devices: int = 1, total: int = 2**32, init: int = 0) -> None:
        self.devices, self.total, self.init = devices, total, init
        self.device: dict[int, ctypes.Array] = {}
        self.host: dict[int, ctypes.Array] = {}
        self.streams: dict[int, int] = {}
        self.events: set[int] = set()
        self.retained = 0
        self.calls: list[str] = []
        self.fail: dict[str, int] = {}
        self._next = 1000

    @property
    def left(self) -> tuple[int, ...]:
        return len(self.device), len(self.host), len(self.streams), len(self.events), self.retained

    def __getattribute__(self, name):
        value = object.__getattribute__(self, name)
        if not name.startswith("cu"):
            return value

        def call(*arguments):
            self.calls.append(name)
            return self.fail.get(name) or value(*arguments)

        return call

    def cuGetErrorName(self, code, out):
        out._obj.value = ERRORS.get(code.value, b"CUDA_ERROR_UNKNOWN")
        return 0

    def cuInit(self, flags):
        return self.init

    def cuDeviceGetCount(self, out):
        out._obj.value = self.devices
        return 0

    def cuDeviceGet(self, out, ordinal):
        out._obj.value = ordinal.value
        return 0

    def cuDeviceGetName(self, out, size, device):
        out.value = b"Fake GPU"
        return 0

    def cuDeviceGetAttribute(self, out, which, device):
        out._obj.value = {75: 8, 76: 7}[which.value]
        return 0

    def cuDriverGetVersion(self, out):
        out._obj.value = DRIVER_VERSION
        return 0

    def cuDevicePrimaryCtxRetain(self, out, device):
        self.retained += 1
        out._obj.value = 77
        return 0

    def cuDevicePrimaryCtxRelease_v2(self, device):
        self.retained -= 1
        return 0

    def cuCtxSetCurrent(self, context):
        return 0 if context.value == 77 else 1

    def cuCtxGetStreamPriorityRange(self, lowest, highest):
        lowest._obj.value, highest._obj.value = 0, -5
        return 0

    def cuMemGetInfo_v2(self, free, total):
        free._obj.value = max(0, self.total - sum(len(each) for each in self.device.values()))
        total._obj.value = self.total
        return 0

    def cuMemAlloc_v2(self, out, size):
        memory = ctypes.create_string_buffer(size.value)
        ctypes.memset(memory, 0xA5, size.value)  # a device does not clear memory
        out._obj.value = ctypes.addressof(memory)
        self.device[out._obj.value] = memory
        return 0

    def cuMemFree_v2(self, pointer):
        return 0 if self.device.pop(pointer.value, None) is not None else 1

    def cuMemHostAlloc(self, out, size, flags):
        memory = ctypes.create_string_buffer(size.value)
        out._obj.value = ctypes.addressof(memory)
        self.host[out._obj.value] = memory
        return 0

    def cuMemFreeHost(self, pointer):
        return 0 if self.host.pop(pointer.value, None) is not None else 1

    def cuMemcpyHtoDAsync_v2(self, target, source, size, stream):
        return self._copy(target.value, source.value, size.value, self.device, self.host, stream)

    def cuMemcpyDtoHAsync_v2(self, target, source, size, stream):
        return self._copy(target.value, source.value, size.value, self.host, self.device, stream)

    def cuStreamCreateWithPriority(self, out, flags, priority):
        out._obj.value = self._handle()
        self.streams[out._obj.value] = priority.value
        return 0

    def cuStreamSynchronize(self, stream):
        return 0 if stream.value in self.streams else 1

    def cuStreamDestroy_v2(self, stream):
        return 0 if self.streams.pop(stream.value, None) is not None else 1

    def cuEventCreate(self, out, flags):
        out._obj.value = self._handle()
        self.events.add(out._obj.value)
        return 0

    def cuEventRecord(self, event, stream):
        return 0 if event.value in self.events and stream.value in self.streams else 1

    def cuEventSynchronize(self, event):
        return 0 if event.value in self.events else 1

    def cuEventElapsedTime(self, out, begin, end):
        out._obj.value = 1.5
        return 0

    def cuEventDestroy_v2(self, event):
        self.events.discard(event.value)
        return 0

    def cuStreamBeginCapture_v2(self, stream, mode):
        return 0 if stream.value in self.streams else 1

    def cuStreamEndCapture(self, stream, out):
        out._obj.value = self._handle()
        return 0

    def cuGraphInstantiateWithFlags(self, out, graph, flags):
        out._obj.value = self._handle()
        return 0

    def cuGraphDestroy(self, graph):
        return 0

    def cuGraphLaunch(self, graph, stream):
        return 0 if stream.value in self.streams else 1

    def cuGraphExecDestroy(self, graph):
        return 0

    def _handle(self) -> int:
        self._next += 1
        return self._next

    def _copy(self, target, source, size, targets, sources, stream):
        if stream.value not in self.streams:
            return 1
        if not inside(target, size, targets) or not inside(source, size, sources):
            return 1
        ctypes.memmove(target, source, size)
        return 0


def inside(pointer: int, size: int, blocks: dict[int, ctypes.Array]) -> bool:
    return any(
        start <= pointer and pointer + size <= start + len(m) for start, m in blocks.items()
    )
