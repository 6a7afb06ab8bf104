"""TensorRT on the CPU: builds, refits and runs ONNX graphs with ONNX Runtime.

`fake_tensorrt(version)` returns a module with the names that the real Python bindings of that
version have (surface.json was written by looking at them), the rules of their documentation, and
refusals where the real one refuses: wrong counts and types, missing weights, contexts used after a
refit of TensorRT 8, memory that is not on the device.
"""

from __future__ import annotations

import enum
import json
import types
from pathlib import Path

import numpy as np

from simulated_gpu.build import add_builder
from simulated_gpu.run import add_refitter, add_runtime
from simulated_gpu.values import data_type

SURFACE = json.loads(Path(__file__).with_name("surface.json").read_text(encoding="utf-8"))
VERSIONS = tuple(SURFACE["versions"])


def names_of(owner: str, version: str) -> frozenset[str]:
    """Return the public names of a class or enumeration in the real bindings of `version`."""
    column = str(VERSIONS.index(version))
    groups = SURFACE["names"].get(owner, {})
    return frozenset(n for key, names in groups.items() if column in key for n in names.split())


def fake_tensorrt(version: str) -> types.ModuleType:
    """Return a module `tensorrt` of one of `VERSIONS`."""
    trt = types.ModuleType("tensorrt")
    trt.__version__ = version
    trt.faults = []  # each refit takes the first: partial, raise, nothing, nan or residue
    trt.built = []
    trt.combined = {}  # weight -> weights that a refit of it needs as well
    for name in SURFACE["names"]:
        members = names_of(name, version)
        if "." not in name and members and _is_enumeration(name):
            kind = enum.IntEnum(name, {each: i for i, each in enumerate(sorted(members))})
            setattr(trt, name, kind)
    trt.old = not names_of("IProgressMonitor", version)
    trt.init_libnvinfer_plugins = lambda logger, namespace: logger._ready
    for factory in (_logging, _weights, add_builder, add_runtime, add_refitter):
        factory(trt)
    for name in SURFACE["names"]:
        found = getattr(trt, name, None)
        if found is not None and not _is_enumeration(name):
            setattr(trt, name, _cut(found, names_of(name, version)))
    return trt


def _is_enumeration(name: str) -> bool:
    return not name.startswith("I") and name not in (
        "Builder",
        "OnnxParser",
        "Runtime",
        "Refitter",
        "Weights",
    )


def _cut(full: type, allowed: frozenset[str]) -> type:
    """Return `full` without the public names that the real class lacks."""
    surplus = {n for n in dir(full) if not n.startswith("_")} - allowed
    kept = {n: v for n, v in vars(full).items() if n not in surplus and n != "__dict__"}
    return type(full.__name__, full.__bases__, kept)


def _logging(trt: types.ModuleType) -> None:
    class ILogger:
        Severity = enum.IntEnum(
            "Severity", ["INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"], start=0
        )
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = Severity

        def __init__(self):
            self._ready = True

    class IProgressMonitor:
        def __init__(self):
            self._ready = True

        def phase_start(self): ...
        def step_complete(self): ...
        def phase_finish(self): ...

    trt.ILogger = ILogger
    if not trt.old:
        trt.IProgressMonitor = IProgressMonitor


def _weights(trt: types.ModuleType) -> None:
    class Weights:
        def __init__(self, *arguments):
            if len(arguments) == 1 and isinstance(arguments[0], np.ndarray):
                (array,) = arguments
                assert array.flags.c_contiguous
                self._array, self._pointer = array, array.ctypes.data
                self.dtype, self.size = data_type(trt, array.dtype), array.size
            elif len(arguments) == 3 and not trt.old:
                self.dtype, self._pointer, self.size = arguments
            else:
                raise TypeError(f"__init__(): incompatible constructor arguments {arguments!r}")

        def __len__(self):
            return self.size

        def numpy(self): ...

        nbytes = 0

    trt.Weights = Weights
