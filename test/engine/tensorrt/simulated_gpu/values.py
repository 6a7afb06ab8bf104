"""Types, tensors and memory as the simulated TensorRT sees them."""

from __future__ import annotations

import ctypes
import enum
import types

import numpy as np
import onnx


def data_type(trt: types.ModuleType, dtype) -> enum.IntEnum:
    return trt.DataType[
        {"f4": "FLOAT", "f2": "HALF", "i4": "INT32", "i8": "INT64"}[np.dtype(dtype).str[1:]]
    ]


def dtype_of(kind) -> np.dtype:
    names = {"FLOAT": "f4", "HALF": "f2", "INT32": "i4", "INT64": "i8"}
    return np.dtype(names[kind.name])


class Tensor:
    def __init__(self, name, dtype, shape):
        self.name, self.dtype, self.shape = name, dtype, shape
        self.allowed_formats = 0


def tensor_of(trt, value) -> Tensor:
    kind = value.type.tensor_type
    shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in kind.shape.dim)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    if trt.old and dtype == np.int64:
        dtype = np.dtype(np.int32)  # TensorRT 8 casts INT64 down
    return Tensor(value.name, data_type(trt, dtype), shape)


class Latest:
    """Where INT64 exists, for what ONNX Runtime wants."""

    old = False
    DataType = enum.IntEnum("DataType", ["FLOAT", "HALF", "INT32", "INT64"])


LATEST = Latest


def read(pointer, kind, shape) -> np.ndarray:
    dtype = dtype_of(kind)
    size = int(np.prod(shape, dtype=np.int64))
    buffer = (ctypes.c_char * (size * dtype.itemsize)).from_address(pointer)
    return np.frombuffer(buffer, dtype).reshape(shape).copy()
