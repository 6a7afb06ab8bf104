"""TensorRT on the CPU: builds, refits and runs ONNX graphs with ONNX Runtime.

`fake_tensorrt(version)` returns a module with the names that the real Python bindings of that
version have (surface.json was written by looking at them), the rules of their documentation, and
refusals where the real one refuses: wrong counts and types, missing weights, contexts used after a
refit of TensorRT 8, memory that is not on the device.
"""

from __future__ import annotations

import ctypes
import enum
import json
import types
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

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
    trt.faults = []  # each refit takes the first: "partial", "raise", "nothing", "nan" or "residue"
    trt.built = []
    trt.combined = {}  # weight -> weights that a refit of it needs as well
    for name in SURFACE["names"]:
        members = names_of(name, version)
        if "." not in name and members and _is_enumeration(name):
            kind = enum.IntEnum(name, {each: i for i, each in enumerate(sorted(members))})
            setattr(trt, name, kind)
    trt.old = not names_of("IProgressMonitor", version)
    for factory in (_logging, _weights, _build, _runtime, _refitter):
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
                self.dtype, self.size = _data_type(trt, array.dtype), array.size
            elif len(arguments) == 3 and not trt.old:
                self.dtype, self._pointer, self.size = arguments
            else:
                raise TypeError(f"__init__(): incompatible constructor arguments {arguments!r}")

        def __len__(self):
            return self.size

        def numpy(self): ...

        nbytes = 0

    trt.Weights = Weights


def _data_type(trt: types.ModuleType, dtype) -> enum.IntEnum:
    return trt.DataType[
        {"f4": "FLOAT", "f2": "HALF", "i4": "INT32", "i8": "INT64"}[np.dtype(dtype).str[1:]]
    ]


def _dtype(kind) -> np.dtype:
    names = {"FLOAT": "f4", "HALF": "f2", "INT32": "i4", "INT64": "i8"}
    return np.dtype(names[kind.name])


class _Tensor:
    def __init__(self, name, dtype, shape):
        self.name, self.dtype, self.shape = name, dtype, shape
        self.allowed_formats = 0


def _build(trt: types.ModuleType) -> None:
    class INetworkDefinition:
        def __init__(self, flags):
            if trt.old:
                assert flags & 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
            self._model, self._marked, self._inputs, self._flags = None, [], [], flags

        @property
        def num_inputs(self):
            return len(self._inputs)

        def get_input(self, index):
            return self._inputs[index]

        def mark_weights_refittable(self, name):
            known = name in {t.name for t in self._model.graph.initializer}
            self._marked += [name] if known else []
            return known

    class OnnxParser:
        def __init__(self, network, logger):
            assert logger._ready
            self._network, self.num_errors = network, 0

        def parse_from_file(self, model):
            try:
                proto = onnx.load(model)
            except Exception:
                self.num_errors = 1
                return False
            constants = {t.name for t in proto.graph.initializer}
            both = [i.name for i in proto.graph.input if i.name in constants]
            assert not both, f"inputs that are initializers: {both}"
            self._network._model = proto
            self._network._inputs = [_tensor_of(trt, v) for v in proto.graph.input]
            return True

        def get_error(self, index):
            return "In node 0 (importModel): INVALID_GRAPH"

    class ITimingCache:
        def __init__(self, content):
            self._content = content

        def serialize(self):
            return self._content or b"measured"

    class IOptimizationProfile:
        def __init__(self):
            self._shapes = {}

        def set_shape(self, input, min, opt, max):  # noqa: A002  the real names
            self._shapes[input] = (min, opt, max)

    class IBuilderConfig:
        builder_optimization_level = 3
        progress_monitor = None

        def __init__(self):
            self._flags = {trt.BuilderFlag.TF32}
            self._profiles, self._limits, self._timing = [], {}, None
            self._sources = (1 << len(trt.TacticSource)) - 1

        def set_flag(self, flag):
            self._flags.add(trt.BuilderFlag(flag))

        def clear_flag(self, flag):
            self._flags.discard(flag)

        def set_memory_pool_limit(self, pool, pool_size):
            self._limits[pool] = pool_size

        def get_tactic_sources(self):
            return self._sources

        def set_tactic_sources(self, tactic_sources):
            self._sources = tactic_sources
            return True

        def create_timing_cache(self, serialized_timing_cache):
            content = bytes(serialized_timing_cache)
            return None if content == b"damaged" else ITimingCache(content)

        def set_timing_cache(self, cache, ignore_mismatch):
            assert not ignore_mismatch
            self._timing = cache
            return cache._content != b"another GPU"

        def add_optimization_profile(self, profile):
            self._profiles.append(profile)
            return len(self._profiles) - 1

        def set_preview_feature(self, feature, enable):
            assert feature in trt.PreviewFeature

    class IHostMemory(bytearray):
        @property
        def nbytes(self):
            return len(self)

    class Builder:
        def __init__(self, logger):
            assert logger._ready

        def create_network(self, flags=0):
            return trt.INetworkDefinition(flags)

        def create_builder_config(self):
            return trt.IBuilderConfig()

        def create_optimization_profile(self):
            return IOptimizationProfile()

        def build_serialized_network(self, network, config):
            monitor = getattr(config, "progress_monitor", None)
            if monitor is not None:
                assert monitor._ready
                monitor.phase_start("tactics", None, 2)
                assert monitor.step_complete("tactics", 0)
                monitor.phase_finish("tactics")
            trt.built.append((network, config))
            return IHostMemory(_plan(trt, network, config))

    trt.INetworkDefinition, trt.OnnxParser, trt.Builder = INetworkDefinition, OnnxParser, Builder
    trt.IBuilderConfig, trt.ITimingCache = IBuilderConfig, ITimingCache
    trt.IOptimizationProfile = IOptimizationProfile
    trt.ITensor = _Tensor


def _tensor_of(trt, value) -> _Tensor:
    kind = value.type.tensor_type
    shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in kind.shape.dim)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    if trt.old and dtype == np.int64:
        dtype = np.dtype(np.int32)  # TensorRT 8 casts INT64 down
    return _Tensor(value.name, _data_type(trt, dtype), shape)


def _plan(trt, network, config) -> bytes:
    flags = {f.name for f in config._flags}
    assert not {"REFIT", "REFIT_INDIVIDUAL"} <= flags
    constants = [t.name for t in network._model.graph.initializer if t.data_type in (1, 10)]
    marked = network._marked if "REFIT_INDIVIDUAL" in flags else constants
    dynamic = [t.name for t in network._inputs if -1 in t.shape]
    if dynamic and not config._profiles:
        raise ValueError(f"inputs {dynamic} need an optimization profile")
    header = {
        "version": trt.__version__,
        "refit": marked if {"REFIT", "REFIT_INDIVIDUAL"} & flags else [],
        "inputs": {t.name: (t.dtype.name, list(t.shape)) for t in network._inputs},
        "profiles": [p._shapes for p in config._profiles],
    }
    return json.dumps(header).encode() + b"\0" + network._model.SerializeToString()


def _runtime(trt: types.ModuleType) -> None:
    class ICudaEngine:
        device_memory_size = device_memory_size_v2 = 1024

        def __init__(self, header, model):
            self._header, self._generation = header, 0
            self._weights = {
                t.name: onnx.numpy_helper.to_array(t).copy()
                for t in model.graph.initializer
                if t.name in header["refit"]
            }
            for name, array in self._weights.items():
                model.graph.input.append(
                    onnx.helper.make_tensor_value_info(
                        name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
                    )
                )
            kept = [t for t in model.graph.initializer if t.name not in self._weights]
            copies = [onnx.TensorProto.FromString(t.SerializeToString()) for t in kept]
            del model.graph.initializer[:]
            model.graph.initializer.extend(copies)
            self._wanted = {v.name: _tensor_of(_LATEST, v) for v in model.graph.input}
            self._outputs = [_tensor_of(trt, v) for v in model.graph.output]
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
            self._tensors = {n: (k, s) for n, (k, s) in header["inputs"].items()}
            self._tensors |= {t.name: (t.dtype.name, list(t.shape)) for t in self._outputs}

        @property
        def num_io_tensors(self):
            return len(self._tensors)

        @property
        def refittable(self):
            return bool(self._header["refit"])

        def get_tensor_name(self, index):
            return list(self._tensors)[index]

        def get_tensor_dtype(self, name):
            return trt.DataType[self._tensors[name][0]]

        def get_tensor_shape(self, name):
            return tuple(self._tensors[name][1])

        def create_execution_context(self):
            return trt.IExecutionContext(self)

    class IExecutionContext:
        def __init__(self, engine):
            self._engine, self._generation = engine, engine._generation
            self._addresses, self._shapes = {}, {}

        def set_tensor_address(self, name, memory):
            self._addresses[name] = memory
            return name in self._engine._tensors

        def set_input_shape(self, name, shape):
            profile = self._engine._header["profiles"][0][name]
            ok = all(
                lo <= s <= hi for lo, s, hi in zip(profile[0], shape, profile[2], strict=True)
            )
            self._shapes[name] = tuple(shape)
            return ok

        def execute_async_v3(self, stream_handle):
            engine = self._engine
            if trt.old and self._generation != engine._generation:
                raise RuntimeError("a context of before the refit must not be used")
            feed = dict(engine._weights)
            for name in engine._header["inputs"]:
                kind, shape = engine._tensors[name]
                shape = self._shapes.get(name, tuple(shape))
                if min(shape, default=0) < 0:
                    return False
                array = _read(self._addresses[name], trt.DataType[kind], shape)
                wanted = _dtype(engine._wanted[name].dtype)
                feed[name] = array.astype(wanted)
            for output, value in zip(
                engine._outputs, engine._session.run(None, feed), strict=True
            ):
                ctypes.memmove(self._addresses[output.name], value.ctypes.data, value.nbytes)
            return True

    class Runtime:
        def __init__(self, logger):
            assert logger._ready

        def deserialize_cuda_engine(self, serialized_engine):
            head, _, body = bytes(serialized_engine).partition(b"\0")
            header = json.loads(head)
            if header["version"] != trt.__version__:
                return None
            return trt.ICudaEngine(header, onnx.ModelProto.FromString(body))

    trt.ICudaEngine, trt.IExecutionContext, trt.Runtime = ICudaEngine, IExecutionContext, Runtime


class _Latest:
    """Where INT64 exists, for what ONNX Runtime wants."""

    old = False
    DataType = enum.IntEnum("DataType", ["FLOAT", "HALF", "INT32", "INT64"])


_LATEST = _Latest


def _read(pointer, kind, shape) -> np.ndarray:
    dtype = _dtype(kind)
    size = int(np.prod(shape, dtype=np.int64))
    buffer = (ctypes.c_char * (size * dtype.itemsize)).from_address(pointer)
    return np.frombuffer(buffer, dtype).reshape(shape).copy()


def _refitter(trt: types.ModuleType) -> None:
    class Refitter:
        weights_validation = True
        max_threads = 1

        def __init__(self, engine, logger):
            if not engine.refittable:
                raise TypeError("pybind11::init(): factory function returned nullptr")
            self._engine, self._set = engine, {}

        def get_all_weights(self):
            return list(self._engine._weights)

        def get_missing_weights(self):
            wanted = {other for name in self._set for other in trt.combined.get(name, ())}
            return sorted(wanted - set(self._set))

        def get_weights_location(self, weights_name): ...
        def unset_named_weights(self, weights_name): ...

        def get_weights_prototype(self, weights_name):
            array = self._engine._weights[weights_name]
            return trt.Weights(_data_type(trt, array.dtype), 0, array.size)

        def set_named_weights(self, name, weights, location=None):
            if location is not None and trt.old:
                raise TypeError("set_named_weights(): incompatible function arguments")
            array = self._engine._weights.get(name)
            fits = (
                array is not None
                and weights.size == array.size
                and weights.dtype == _data_type(trt, array.dtype)
            )
            if fits:
                self._set[name] = weights
            return fits

        def refit_cuda_engine(self):
            return self._refit()

        def refit_cuda_engine_async(self, stream_handle):
            return self._refit()

        def _refit(self):
            if self.get_missing_weights():
                return False
            engine, fault = self._engine, trt.faults.pop(0) if trt.faults else ""
            if fault == "raise":
                raise RuntimeError("CUDA error 719")
            engine._generation += 1
            for number, (name, weights) in enumerate(self._set.items()):
                if fault == "nothing" or (fault == "residue" and number):
                    continue
                if fault == "partial" and number:
                    return False
                old = engine._weights[name]
                new = _read(weights._pointer, weights.dtype, old.shape)
                engine._weights[name] = np.full_like(old, np.nan) if fault == "nan" else new
            if trt.old:
                self._set = {}
            return fault != "partial"

    trt.Refitter = Refitter
