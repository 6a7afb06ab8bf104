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
from typing import Any

import numpy as np
import numpy.typing as npt

from semla_ros.core.errors import EngineError, EngineUnavailableError
from semla_ros.core.types import UInt8Array

LIBRARY = "libcuda.so.1"

_NON_BLOCKING = 1
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = ctypes.c_int(75), ctypes.c_int(76)
_NAME_BYTES = 256


class CudaError(EngineError):
    """A CUDA call failed; the device may need a restart of the process."""


class Cuda:
    """One device; its primary context is made current on every thread that comes by.

    Whatever is allocated here lives until `close`.
    """

    def __init__(self, library: Any) -> None:  # noqa: ANN401  a ctypes library
        """Retain the primary context of the first visible device.

        Raises:
            EngineUnavailableError: There is no usable GPU.
        """
        self._library = library
        self._threads = threading.local()
        self._context = ctypes.c_void_p()
        self._device = ctypes.c_int()
        self._memory: list[int] = []
        self._pinned: list[int] = []
        self._streams: list[int] = []
        count = ctypes.c_int()
        try:
            self._call("cuInit", ctypes.c_uint(0))
            self._call("cuDeviceGetCount", ctypes.byref(count))
            if not count.value:
                raise EngineUnavailableError(
                    "TensorRT: expected an NVIDIA GPU, the driver sees none: check "
                    "CUDA_VISIBLE_DEVICES, or take engine 'onnx'"
                )
            self._call("cuDeviceGet", ctypes.byref(self._device), ctypes.c_int(0))
            self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._device)
        except CudaError as error:
            raise EngineUnavailableError(
                f"TensorRT: expected a working NVIDIA GPU: {error}: check `nvidia-smi`, or take "
                "engine 'onnx'"
            ) from error

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
                f"TensorRT: expected the NVIDIA driver's {LIBRARY}, found none ({error}): install "
                "the driver, or take engine 'onnx'"
            ) from error
        return cls(library)

    @property
    def platform(self) -> dict[str, str]:
        """The GPU's name, compute capability, and the CUDA version that its driver supports."""
        name = ctypes.create_string_buffer(_NAME_BYTES)
        self._call("cuDeviceGetName", name, ctypes.c_int(_NAME_BYTES), self._device)
        driver = ctypes.c_int()
        self._call("cuDriverGetVersion", ctypes.byref(driver))
        capability = []
        for which in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR):
            out = ctypes.c_int()
            self._call("cuDeviceGetAttribute", ctypes.byref(out), which, self._device)
            capability.append(str(out.value))
        return {
            "gpu": name.value.decode(),
            "compute_capability": ".".join(capability),
            "cuda": str(driver.value // 1000),
        }

    @property
    def free_bytes(self) -> int:
        """Free device memory."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._here("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value

    def allocate(self, nbytes: int) -> int:
        """Return the address of `nbytes` of device memory."""
        pointer = ctypes.c_uint64()
        self._here("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(nbytes))
        self._memory.append(pointer.value)
        return pointer.value

    def pinned(self, nbytes: int) -> UInt8Array:
        """Return (nbytes,) uint8, zeros in page-locked host memory."""
        pointer = ctypes.c_void_p()
        size = ctypes.c_size_t(nbytes)
        self._here("cuMemHostAlloc", ctypes.byref(pointer), size, ctypes.c_uint(0))
        address = int(pointer.value or 0)
        self._pinned.append(address)
        array = np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))
        array[:] = 0
        return array

    def upload(self, target: int, source: npt.NDArray[Any], *, stream: int) -> None:
        """Enqueue a copy of the page-locked `source` to the device address `target`."""
        self._here(
            "cuMemcpyHtoDAsync_v2",
            ctypes.c_uint64(target),
            ctypes.c_void_p(source.ctypes.data),
            ctypes.c_size_t(source.nbytes),
            ctypes.c_void_p(stream),
        )

    def download(self, target: npt.NDArray[Any], source: int, *, stream: int) -> None:
        """Enqueue a copy from the device address `source` to the page-locked `target`."""
        self._here(
            "cuMemcpyDtoHAsync_v2",
            ctypes.c_void_p(target.ctypes.data),
            ctypes.c_uint64(source),
            ctypes.c_size_t(target.nbytes),
            ctypes.c_void_p(stream),
        )

    def stream(self, *, urgent: bool) -> int:
        """Return a new stream of the highest or the lowest priority.

        Priorities order waiting kernels; a kernel that runs is not preempted.
        """
        handle, lowest, highest = ctypes.c_void_p(), ctypes.c_int(), ctypes.c_int()
        self._here("cuCtxGetStreamPriorityRange", ctypes.byref(lowest), ctypes.byref(highest))
        self._here(
            "cuStreamCreateWithPriority",
            ctypes.byref(handle),
            ctypes.c_uint(_NON_BLOCKING),
            highest if urgent else lowest,
        )
        self._streams.append(int(handle.value or 0))
        return self._streams[-1]

    def synchronize(self, stream: int) -> None:
        """Wait for everything enqueued on `stream`."""
        self._here("cuStreamSynchronize", ctypes.c_void_p(stream))

    def close(self) -> None:
        """Free memory and streams and release the context; twice is allowed.

        Views of page-locked memory must not be used any more.
        """
        if not self._context.value:
            return
        for stream in self._streams:
            self._here("cuStreamDestroy_v2", ctypes.c_void_p(stream))
        for pointer in self._memory:
            self._here("cuMemFree_v2", ctypes.c_uint64(pointer))
        for address in self._pinned:
            self._here("cuMemFreeHost", ctypes.c_void_p(address))
        self._context = ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRelease_v2", self._device)

    def _here(self, name: str, *arguments: object) -> None:
        """Call `name` with the context current on this thread."""
        if not self._context.value:
            raise CudaError(f"{name} after the GPU was closed")
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
