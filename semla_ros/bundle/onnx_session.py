"""ONNX Runtime sessions on the CPU, opened the same way everywhere."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Mapping
from pathlib import Path

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as _state

from semla_ros.core.cores import usable_cores
from semla_ros.core.errors import BundleError
from semla_ros.core.files.lfs_pointer import lfs_remedy_of
from semla_ros.core.shown import native_path
from semla_ros.core.types import Float32Array

ORT_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    ValueError,
    *(e for e in vars(_state).values() if isinstance(e, type) and issubclass(e, Exception)),
)
"""Whatever ONNX Runtime raises; its exceptions have no common base."""

_ERRORS_ONLY = 3


def cpu_threads(threads: int) -> int:
    """Return how many CPU threads `threads` means: 0 leaves one core to the rest of the robot.

    Of the cores that this process may use: a container or `taskset` may leave it few of many.
    """
    if threads > 0:
        return threads
    return max(1, usable_cores() - 1)


class SharedInitializers:
    """Arrays that a session uses in place of its graph's own copies; keep it while it is open."""

    def __init__(self, arrays: Mapping[str, Float32Array]) -> None:
        """Share `arrays`: initializer name -> C-contiguous array of its shape, never changed."""
        self._values = {
            name: (onnxruntime.OrtValue.ortvalue_from_numpy(array), array)
            for name, array in arrays.items()
        }

    def add_to(self, options: onnxruntime.SessionOptions) -> None:
        """Make sessions opened with `options` use the arrays."""
        for name, (value, _) in self._values.items():
            options.add_initializer(name, value)


def open_session(
    path: Path, *, threads: int, shared: SharedInitializers | None = None
) -> onnxruntime.InferenceSession:
    """Return a CPU session of the graph `path`.

    Threads sleep between runs instead of spinning: the rest of the robot needs the cores. With
    one thread a run happens on the calling thread and inherits its niceness.

    Args:
        path: The graph.
        threads: Threads inside one operator; 0: all cores but one.
        shared: Initializers that need not be in memory once more.

    Raises:
        BundleError: The graph is missing or does not load.
    """
    if not path.is_file():
        raise BundleError(
            f"expected the graph {path.name!r} in {str(path.parent)!r}, found none: "
            "copy the whole bundle again"
        )
    if remedy := lfs_remedy_of(path):
        raise BundleError(f"graph {path.name!r}: {remedy}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cpu_threads(threads)
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        if shared is not None:
            shared.add_to(options)
        with native_path(path) as name:
            session = onnxruntime.InferenceSession(
                name, options, providers=["CPUExecutionProvider"]
            )
    except ORT_ERRORS as error:
        raise BundleError(
            f"graph {path.name!r} does not load in ONNX Runtime {onnxruntime.__version__}: "
            f"{error}: rebuild the bundle"
        ) from error
    _return_free_memory()
    return session


def _return_free_memory() -> None:
    """Give the system back what parsing a graph has left: with glibc that is the whole graph."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
