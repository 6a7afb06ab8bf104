"""Runtime, engine, context and refitter: ONNX Runtime does the work."""

from __future__ import annotations

import ctypes
import json
import types

import numpy as np
import onnx
import onnxruntime

from simulated_gpu.values import LATEST, data_type, dtype_of, read, tensor_of


def add_runtime(trt: types.ModuleType) -> None:
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
            self._wanted = {v.name: tensor_of(LATEST, v) for v in model.graph.input}
            self._outputs = [tensor_of(trt, v) for v in model.graph.output]
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
                array = read(self._addresses[name], trt.DataType[kind], shape)
                wanted = dtype_of(engine._wanted[name].dtype)
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


def add_refitter(trt: types.ModuleType) -> None:
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
            return trt.Weights(data_type(trt, array.dtype), 0, array.size)

        def set_named_weights(self, name, weights, location=None):
            if location is not None and trt.old:
                raise TypeError("set_named_weights(): incompatible function arguments")
            array = self._engine._weights.get(name)
            fits = (
                array is not None
                and weights.size == array.size
                and weights.dtype == data_type(trt, array.dtype)
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
                new = read(weights._pointer, weights.dtype, old.shape)
                engine._weights[name] = np.full_like(old, np.nan) if fault == "nan" else new
            if trt.old:
                self._set = {}
            return fault != "partial"

    trt.Refitter = Refitter
