"""The few things this engine needs of CUDA, through the driver API and ctypes.

`libcuda.so.1` is the one library that every machine with a working GPU has: it comes with the
driver, its exports kept their signatures from CUDA 11 to 13, and TensorRT's runtime API shares the
device's primary context with it. torch or cupy would be gigabytes on a robot, and cuda-python
follows the major version of CUDA and is not built for every Jetson. ctypes lets other Python
threads run during each call.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from semla_ros.errors import EngineError, EngineUnavailableError

LIBRARY = "libcuda.so.1"

_NON_BLOCKING = 1
_RELAXED = 2
_NO_FLAGS = ctypes.c_ulonglong(0)
_BLOCKING_SYNC = 1
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
_NAME_BYTES = 256


class CudaError(EngineError):
    """A CUDA call failed; the device may need a restart of the process."""


@dataclass(frozen=True, slots=True)
class Device:
    """The GPU.

    Attributes:
        name: As the driver calls it.
        compute_capability: Like `8.7`.
        driver: Major number of the CUDA version that the driver supports.
    """

    name: str
    compute_capability: str
    driver: int


class PinnedArray:
    """Page-locked host memory as a flat numpy array of bytes; frees itself."""

    def __init__(self, cuda: Cuda, nbytes: int) -> None:
        """Allocate `nbytes`."""
        self._cuda = cuda
        self.pointer = cuda.allocate_host(nbytes)
        view = (ctypes.c_uint8 * nbytes).from_address(self.pointer)
        self.bytes: npt.NDArray[np.uint8] = np.ctypeslib.as_array(view)

    def free(self) -> None:
        """Give the memory back; views of it must not be used any more."""
        if self.pointer:
            self._cuda.free_host(self.pointer)
            self.pointer = 0


class DeviceBuffer:
    """Device memory."""

    def __init__(self, cuda: Cuda, nbytes: int) -> None:
        """Allocate `nbytes`."""
        self._cuda = cuda
        self.nbytes = nbytes
        self.pointer = cuda.allocate(nbytes)

    def free(self) -> None:
        """Give the memory back; freeing twice is allowed."""
        if self.pointer:
            self._cuda.free(self.pointer)
            self.pointer = 0


class Cuda:
    """One device, its primary context made current on every thread that comes by."""

    def __init__(self, library: Any, ordinal: int = 0) -> None:  # noqa: ANN401  a ctypes library
        """Retain the primary context of device `ordinal`.

        Raises:
            EngineUnavailableError: There is no usable GPU.
        """
        self._library = library
        self._threads = threading.local()
        self._context = ctypes.c_void_p()
        device, count = ctypes.c_int(), ctypes.c_int()
        try:
            self._call("cuInit", ctypes.c_uint(0))
            self._call("cuDeviceGetCount", ctypes.byref(count))
            if count.value <= ordinal:
                raise EngineUnavailableError(
                    f"expected an NVIDIA GPU number {ordinal}, the driver sees {count.value}: "
                    "check CUDA_VISIBLE_DEVICES, or take engine 'onnx'"
                )
            self._call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(ordinal))
            self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), device)
        except CudaError as error:
            raise EngineUnavailableError(
                f"expected a working NVIDIA GPU: {error}: check `nvidia-smi`, or take engine "
                "'onnx'"
            ) from error
        self._device = device
        self._lowest, self._highest = self._priorities()

    @classmethod
    def open(cls) -> Cuda:
        """Return the first visible GPU.

        Raises:
            EngineUnavailableError: No driver, or no GPU.
        """
        try:
            library = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise EngineUnavailableError(
                f"expected the NVIDIA driver's {LIBRARY}, found none ({error}): install the "
                "driver, or take engine 'onnx'"
            ) from error
        return cls(library)

    @property
    def device(self) -> Device:
        """What the GPU is."""
        name = ctypes.create_string_buffer(_NAME_BYTES)
        self._call("cuDeviceGetName", name, ctypes.c_int(_NAME_BYTES), self._device)
        driver = ctypes.c_int()
        self._call("cuDriverGetVersion", ctypes.byref(driver))
        major, minor = (self._attribute(which) for which in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR))
        return Device(name.value.decode(), f"{major}.{minor}", driver.value // 1000)

    @property
    def free_bytes(self) -> int:
        """Free device memory."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._here("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value

    def allocate(self, nbytes: int) -> int:
        """Return the address of `nbytes` of device memory."""
        pointer = ctypes.c_uint64()
        self._here("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(max(1, nbytes)))
        return pointer.value

    def free(self, pointer: int) -> None:
        """Free device memory."""
        self._here("cuMemFree_v2", ctypes.c_uint64(pointer))

    def allocate_host(self, nbytes: int) -> int:
        """Return the address of `nbytes` of page-locked host memory."""
        pointer = ctypes.c_void_p()
        size = ctypes.c_size_t(max(1, nbytes))
        self._here("cuMemHostAlloc", ctypes.byref(pointer), size, ctypes.c_uint(0))
        return int(pointer.value or 0)

    def free_host(self, pointer: int) -> None:
        """Free page-locked host memory."""
        self._here("cuMemFreeHost", ctypes.c_void_p(pointer))

    def upload(self, target: int, source: int, nbytes: int, *, stream: int) -> None:
        """Enqueue a copy of `nbytes` from the host to the device."""
        self._here(
            "cuMemcpyHtoDAsync_v2",
            ctypes.c_uint64(target),
            ctypes.c_void_p(source),
            ctypes.c_size_t(nbytes),
            ctypes.c_void_p(stream),
        )

    def download(self, target: int, source: int, nbytes: int, *, stream: int) -> None:
        """Enqueue a copy of `nbytes` from the device to the host."""
        self._here(
            "cuMemcpyDtoHAsync_v2",
            ctypes.c_void_p(target),
            ctypes.c_uint64(source),
            ctypes.c_size_t(nbytes),
            ctypes.c_void_p(stream),
        )

    def stream(self, *, urgent: bool) -> int:
        """Return a new stream of the highest or the lowest priority.

        Priorities order waiting kernels; a kernel that runs is not preempted.
        """
        handle = ctypes.c_void_p()
        priority = self._highest if urgent else self._lowest
        self._here(
            "cuStreamCreateWithPriority",
            ctypes.byref(handle),
            ctypes.c_uint(_NON_BLOCKING),
            ctypes.c_int(priority),
        )
        return int(handle.value or 0)

    def synchronize(self, stream: int) -> None:
        """Wait for everything enqueued on `stream`."""
        self._here("cuStreamSynchronize", ctypes.c_void_p(stream))

    def destroy_stream(self, stream: int) -> None:
        """Release a stream."""
        self._here("cuStreamDestroy_v2", ctypes.c_void_p(stream))

    def event(self) -> int:
        """Return a new event; waiting for it sleeps instead of spinning."""
        handle = ctypes.c_void_p()
        self._here("cuEventCreate", ctypes.byref(handle), ctypes.c_uint(_BLOCKING_SYNC))
        return int(handle.value or 0)

    def record(self, event: int, *, stream: int) -> None:
        """Enqueue `event` on `stream`."""
        self._here("cuEventRecord", ctypes.c_void_p(event), ctypes.c_void_p(stream))

    def wait(self, event: int) -> None:
        """Wait until `event` has happened."""
        self._here("cuEventSynchronize", ctypes.c_void_p(event))

    def elapsed_ms(self, begin: int, end: int) -> float:
        """Return the device time between two events that have happened, milliseconds."""
        value = ctypes.c_float()
        self._here(
            "cuEventElapsedTime",
            ctypes.byref(value),
            ctypes.c_void_p(begin),
            ctypes.c_void_p(end),
        )
        return value.value

    def destroy_event(self, event: int) -> None:
        """Release an event."""
        self._here("cuEventDestroy_v2", ctypes.c_void_p(event))

    def capture(self, enqueue: Callable[[], None], *, stream: int) -> int:
        """Return a graph of what `enqueue` puts on `stream`, which does not run it.

        Raises:
            CudaError: Something in it cannot be captured.
        """
        graph, made = ctypes.c_void_p(), ctypes.c_void_p()
        self._here("cuStreamBeginCapture_v2", ctypes.c_void_p(stream), ctypes.c_int(_RELAXED))
        try:
            enqueue()
        finally:
            self._here("cuStreamEndCapture", ctypes.c_void_p(stream), ctypes.byref(graph))
        try:
            self._here("cuGraphInstantiateWithFlags", ctypes.byref(made), graph, _NO_FLAGS)
        finally:
            self._here("cuGraphDestroy", graph)
        return int(made.value or 0)

    def launch(self, graph: int, *, stream: int) -> None:
        """Enqueue a run of `graph`."""
        self._here("cuGraphLaunch", ctypes.c_void_p(graph), ctypes.c_void_p(stream))

    def destroy_graph(self, graph: int) -> None:
        """Release a graph."""
        self._here("cuGraphExecDestroy", ctypes.c_void_p(graph))

    def close(self) -> None:
        """Release the primary context; memory and streams must be gone. Twice is allowed."""
        if self._context.value:
            self._context = ctypes.c_void_p()
            self._call("cuDevicePrimaryCtxRelease_v2", self._device)

    def _priorities(self) -> tuple[int, int]:
        lowest, highest = ctypes.c_int(), ctypes.c_int()
        self._here("cuCtxGetStreamPriorityRange", ctypes.byref(lowest), ctypes.byref(highest))
        return lowest.value, highest.value

    def _attribute(self, which: int) -> int:
        value = ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(value), ctypes.c_int(which), self._device)
        return value.value

    def _here(self, name: str, *arguments: object) -> None:
        """Call `name` with the context current on this thread."""
        if getattr(self._threads, "context", None) != self._context.value:
            self._call("cuCtxSetCurrent", self._context)
            self._threads.context = self._context.value
        self._call(name, *arguments)

    def _call(self, name: str, *arguments: object) -> None:
        code = getattr(self._library, name)(*arguments)
        if code:
            text = ctypes.c_char_p()
            self._library.cuGetErrorName(ctypes.c_int(code), ctypes.byref(text))
            shown = text.value.decode() if text.value else "unknown"
            raise CudaError(f"{name} failed with {shown} ({code})")
