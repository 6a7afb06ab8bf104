"""Cast a graph to FP16 where it pays. Needs the package `onnx`.

Matrix products and convolutions compute in FP16, between casts; normalisation, softmax, sums and
the residual stream stay FP32. The graph says so, not the builder: what FP16 costs can be measured
with any runtime.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
import onnx
from onnx import numpy_helper

from semla_ros.core.errors import BundleError

_FLOAT, _HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16

HALF_OPERATORS = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose"})
LARGEST = float(np.finfo(np.float16).max)


def to_half(model: onnx.ModelProto, *, inputs: Collection[str]) -> None:
    """Make `model` compute `HALF_OPERATORS` in FP16; names of tensors stay.

    Weights that only such operators read become FP16 themselves; images, text features and
    outputs stay FP32.

    Args:
        model: The graph, changed in place.
        inputs: Graph inputs that are weights; they become FP16 likewise.

    Raises:
        BundleError: A weight is too large for FP16.
    """
    graph = model.graph
    readers: dict[str, set[str]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, set()).add(node.op_type)
    only_half = {name for name, kinds in readers.items() if kinds <= HALF_OPERATORS}
    integers = {t.name for t in graph.initializer if t.data_type != _FLOAT}
    floats = {t.name for t in graph.initializer} - integers
    narrowed = only_half & (floats | set(inputs))
    for tensor in graph.initializer:
        if tensor.name in narrowed:
            _narrow(tensor)
    for value in graph.input:
        if value.name in narrowed:
            value.type.tensor_type.elem_type = _HALF
    nodes: list[onnx.NodeProto] = []
    casts: dict[str, str] = {}
    for node in graph.node:
        if node.op_type in HALF_OPERATORS and integers.isdisjoint(node.input):
            nodes.extend(_surrounded(node, narrowed, casts))
        else:
            nodes.append(node)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    del graph.value_info[:]


def _surrounded(
    node: onnx.NodeProto, narrowed: set[str], casts: dict[str, str]
) -> Iterable[onnx.NodeProto]:
    """Yield `node` with casts to FP16 before and one back behind it; `casts` is kept up."""
    for index, name in enumerate(node.input):
        if not name or name in narrowed:
            continue
        if name not in casts:
            casts[name] = f"{name}::half"
            yield onnx.helper.make_node("Cast", [name], [casts[name]], to=_HALF)
        node.input[index] = casts[name]
    wide = node.output[0]
    node.output[0] = f"{wide}::narrow"
    yield node
    yield onnx.helper.make_node("Cast", [node.output[0]], [wide], to=_FLOAT)


def _narrow(tensor: onnx.TensorProto) -> None:
    values = numpy_helper.to_array(tensor)
    if values.size and float(np.abs(values).max()) > LARGEST:
        raise BundleError(
            f"weight {tensor.name!r}: expected values up to {LARGEST:g} for f16, got "
            f"{float(np.abs(values).max()):g}: build with --precision f32"
        )
    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), tensor.name))
