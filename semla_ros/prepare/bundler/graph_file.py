"""Write an ONNX graph: checked, without the exporter's notes, large weights beside it."""

from __future__ import annotations

import math
from pathlib import Path

import onnx

MAX_INLINE_BYTES = 1_900_000_000
"""A protobuf file ends at 2 GiB; more weights than this go to a file of their own."""


def save_graph(proto: onnx.ModelProto, path: Path) -> None:
    """Write `proto` to `path`, checked; large weights beside it in `<name>.data`.

    Args:
        proto: The graph; its tensors move out of it where they go to a file of their own.
        path: The `.onnx` file.
    """
    _forget_origin(proto.graph)
    size = sum(_bytes(tensor) for tensor in proto.graph.initializer)
    if size > MAX_INLINE_BYTES:
        onnx.save(
            proto,
            str(path),
            save_as_external_data=True,
            all_tensors_to_one_file=True,
            location=f"{path.name}.data",
        )
    else:
        onnx.save(proto, str(path))
    onnx.checker.check_model(str(path))


def _forget_origin(graph: onnx.GraphProto) -> None:
    """Drop the exporter's notes: stack traces with paths of the machine, much of a small file."""
    graph.ClearField("value_info")
    graph.ClearField("metadata_props")
    for item in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")


def _bytes(tensor: onnx.TensorProto) -> int:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return int(math.prod(tensor.dims) * dtype.itemsize)
