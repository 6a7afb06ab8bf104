"""The calls of TensorRT that the engine makes, and answers to them.

No class here has a name that the real Python bindings of that version lack: bindings.json was
written by looking at 8.5.3, 10.2, 10.13 and 11.4. A plan is the graph that was parsed; a run gives
it to ONNX Runtime, with what lies at the addresses that were set. So shapes, types and
values are real, and nothing is known of how TensorRT builds or how fast it is.
"""

from __future__ import annotations

import ctypes
import enum
import importlib.machinery
import json
import sys
import types
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from scripted_cuda import Driver, inside

from semla_ros.engine.tensorrt.graph import as_inputs

BINDINGS = json.loads(Path(__file__).with_name("bindings.json").read_text(encoding="utf-8"))
VERSIONS = tuple(BINDINGS["versions"])
RECENT = "10.13.3.9"
_DTYPES = {"FLOAT": np.float32, "HALF": np.float16, "INT32": np.int32, "INT64": np.int64}


class Gpu:
    """A machine with TensorRT and a GPU.

    Attributes:
        trt: What `import tensorrt` finds.
        driver: What `libcuda.so.1` is.
        networks: What was built: the network's flags, the builder's flags, the graph.
        refuse: Names of TensorRT's calls that answer False or None, each once.
    """

    def __init__(self, version: str = RECENT) -> None:
        self.driver = Driver()
        self.networks: list[tuple[set[str], set[str], onnx.ModelProto]] = []
        self.refuse: list[str] = []
        self.trt = _module(self, version)

    def refused(self, name: str) -> bool:
        """Return whether this call is to fail."""
        if name in self.refuse:
            self.refuse.remove(name)
            return True
        return False


def install(monkeypatch, tmp_path, version: str = RECENT) -> Gpu:
    """Return the machine that this process runs on from now on; plans go to `tmp_path`."""
    gpu = Gpu(version)
    gpu.trt.__spec__ = importlib.machinery.ModuleSpec("tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt", gpu.trt)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    real = ctypes.CDLL

    def load(name, *arguments, **options):
        return gpu.driver if name == "libcuda.so.1" else real(name, *arguments, **options)

    monkeypatch.setattr(ctypes, "CDLL", load)
    return gpu


def names_of(owner: str, version: str) -> frozenset[str]:
    """Return the public names of a class or enumeration in the real bindings of `version`."""
    column = str(VERSIONS.index(version))
    groups = BINDINGS["names"][owner]
    return frozenset(n for key, names in groups.items() if column in key for n in names.split())


def _module(gpu: Gpu, version: str) -> types.ModuleType:
    trt = types.ModuleType("tensorrt")
    trt.__version__ = version
    for owner in BINDINGS["names"]:
        if owner.endswith(("Flag", "Type", "Location")):
            members = {each: i for i, each in enumerate(sorted(names_of(owner, version)))}
            setattr(trt, owner, enum.IntEnum(owner, members))
    trt.init_libnvinfer_plugins = lambda logger, namespace: True
    for owner, made in {**_building(gpu, trt), **_running(gpu, trt)}.items():
        names = names_of(owner, version) if owner in BINDINGS["names"] else frozenset(dir(made))
        if names:
            kept = {k: v for k, v in vars(made).items() if k[0] == "_" or k in names}
            kept.pop("__dict__", None)
            setattr(trt, owner, type(owner, made.__bases__, kept))
    return trt


def _building(gpu: Gpu, trt: types.ModuleType) -> dict[str, type]:
    class ILogger:
        Severity = enum.Enum("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE")

        def __init__(self): ...

    class IProgressMonitor:
        def __init__(self): ...
        def phase_start(self): ...
        def step_complete(self): ...
        def phase_finish(self): ...

    class INetworkDefinition:
        def __init__(self, flags):
            kinds = trt.NetworkDefinitionCreationFlag
            self._flags = {each.name for each in kinds if flags & 1 << each}
            self._marked, self._model = [], None

        def add_normalization(self): ...

        def mark_weights_refittable(self, name):
            self._marked.append(name)
            return name in {t.name for t in self._model.graph.initializer}

    class OnnxParser:
        num_errors = 1

        def __init__(self, network, logger):
            self._network = network

        def parse_from_file(self, model):
            self._network._model = onnx.load(model)
            return not gpu.refused("parse_from_file")

        def get_error(self, index):
            return "In node 0 (importModel): INVALID_GRAPH"

    class IBuilderConfig:
        progress_monitor = None

        def __init__(self):
            self._flags = {"TF32"}

        def set_flag(self, flag):
            self._flags.add(flag.name)

        def clear_flag(self, flag):
            self._flags.discard(flag.name)

        def set_memory_pool_limit(self, pool, pool_size): ...

    class Builder:
        def __init__(self, logger): ...

        def create_network(self, flags=0):
            return trt.INetworkDefinition(flags)

        def create_builder_config(self):
            return trt.IBuilderConfig()

        def build_serialized_network(self, network, config):
            monitor = getattr(config, "progress_monitor", None)
            if monitor is not None:
                monitor.phase_start("tactics", None, 2)
                if not monitor.step_complete("tactics", 0):
                    return None
                monitor.phase_finish("tactics")
            gpu.networks.append((network._flags, config._flags, network._model))
            header = {"version": trt.__version__, "refit": network._marked}
            plan = json.dumps(header).encode() + b"\0" + network._model.SerializeToString()
            return None if gpu.refused("build_serialized_network") else bytearray(plan)

    return {name: made for name, made in locals().items() if isinstance(made, type)}


def _running(gpu: Gpu, trt: types.ModuleType) -> dict[str, type]:
    class Weights:
        def __init__(self, dtype, pointer, size):
            self.dtype, self.size, self._pointer = dtype, size, pointer

    class ICudaEngine:
        def __init__(self, refit, model):
            weights = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
            self._weights = {name: weights[name].copy() for name in refit}
            values = (*model.graph.input, *model.graph.output)
            self._tensors = {value.name: _typed(value) for value in values}
            self._fed = [value.name for value in model.graph.input]
            self._answer = model.graph.output[0].name
            as_inputs(model, refit)
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )

        @property
        def num_io_tensors(self):
            return len(self._tensors)

        def get_tensor_name(self, index):
            return list(self._tensors)[index]

        def get_tensor_dtype(self, name):
            return trt.DataType[self._tensors[name][0]]

        def get_tensor_shape(self, name):
            return self._tensors[name][1]

        def create_execution_context(self):
            none = gpu.refused("create_execution_context")
            return None if none else trt.IExecutionContext(self)

    class IExecutionContext:
        def __init__(self, engine):
            self._engine, self._addresses = engine, {}

        def set_tensor_address(self, name, memory):
            self._addresses[name] = memory
            return name in self._engine._tensors

        def execute_async_v3(self, stream_handle):
            engine = self._engine
            if gpu.refused("execute_async_v3") or stream_handle not in gpu.driver.streams:
                return False
            feed = {n: _read(gpu, self._addresses[n], *engine._tensors[n]) for n in engine._fed}
            (answer,) = engine._session.run([engine._answer], {**feed, **engine._weights})
            assert inside(self._addresses[engine._answer], answer.nbytes, gpu.driver.device)
            ctypes.memmove(self._addresses[engine._answer], answer.ctypes.data, answer.nbytes)
            return True

    class Runtime:
        def __init__(self, logger): ...

        def deserialize_cuda_engine(self, serialized_engine):
            if gpu.refused("deserialize_cuda_engine"):
                return None
            head, _, body = serialized_engine.partition(b"\0")
            return trt.ICudaEngine(json.loads(head)["refit"], onnx.ModelProto.FromString(body))

    class Refitter:
        def __init__(self, engine, logger):
            self._engine, self._set = engine, {}

        def get_all_weights(self):
            return list(self._engine._weights)

        def get_weights_prototype(self, weights_name):
            array = self._engine._weights[weights_name]
            return trt.Weights(trt.DataType[_name_of(array.dtype)], 0, array.size)

        def set_named_weights(self, name, weights, location):
            assert location == trt.TensorLocation.DEVICE
            wanted = self.get_weights_prototype(name)
            self._set[name] = weights
            return (weights.dtype, weights.size) == (wanted.dtype, wanted.size)

        def refit_cuda_engine_async(self, stream_handle):
            held = self._engine._weights
            for name, weights in self._set.items():
                held[name] = _read(gpu, weights._pointer, weights.dtype.name, held[name].shape)
            return not gpu.refused("refit_cuda_engine_async")

    return {name: made for name, made in locals().items() if isinstance(made, type)}


def _typed(value: onnx.ValueInfoProto) -> tuple[str, tuple[int, ...]]:
    kind = value.type.tensor_type
    shape = tuple(dim.dim_value or -1 for dim in kind.shape.dim)
    return _name_of(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)), shape


def _name_of(dtype: np.dtype) -> str:
    return next(name for name, each in _DTYPES.items() if np.dtype(each) == dtype)


def _read(gpu: Gpu, pointer: int, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    dtype = np.dtype(_DTYPES[kind])
    nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    assert inside(pointer, nbytes, gpu.driver.device), "an address outside device memory"
    return np.frombuffer(ctypes.string_at(pointer, nbytes), dtype).reshape(shape)
