"""Norms in words that every parser of TensorRT reads. Needs the package `onnx`.

The parser of 8.5 (JetPack 5.1) does not know LayerNormalization. Since opset 18 the axes of
reductions are an input; the parser of TensorRT 8 passes over it without a word for all but
ReduceSum, which has had it since opset 13, and would reduce over everything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from semla_ros.core.errors import BundleError

_EPSILON = 1e-5
"""ONNX's default for LayerNormalization."""

_Steps = tuple[tuple[str, str, str | None, str], ...]
"""Operator, first input, second input, name of the output."""


def spell_out_norms(model: onnx.ModelProto, *, layer_normalization: bool) -> None:
    """Write ReduceL2, and on request LayerNormalization, as sums, products and roots.

    Args:
        model: Changed in place.
        layer_normalization: The parser knows it (TensorRT 8.6 and later), leave it.

    Raises:
        BundleError: A LayerNormalization has no constant scale, or more outputs are in use.
    """
    sizes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type == "ReduceL2" and len(node.input) > 1:
            nodes += _root_of_squares(node)
        elif node.op_type == "LayerNormalization" and not layer_normalization:
            nodes += _layer_norm(model, node, sizes.get(node.input[1], ()))
        else:
            nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _root_of_squares(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    (result,) = node.output
    squared, total = f"{result}::squared", f"{result}::total"
    make = onnx.helper.make_node
    return [
        make("Mul", [node.input[0], node.input[0]], [squared]),
        make("ReduceSum", [squared, node.input[1]], [total], **_attributes(node)),
        make("Sqrt", [total], [result]),
    ]


def _layer_norm(
    model: onnx.ModelProto, node: onnx.NodeProto, shape: tuple[int, ...]
) -> list[onnx.NodeProto]:
    """Return (x - mean) / sqrt(variance + epsilon) * scale + bias; its numbers go to `model`.

    Values are divided by their number before they are summed, or FP16 would overflow.
    """
    attributes = _attributes(node)
    if not shape or attributes.get("axis", -1) != -len(shape) or any(node.output[1:]):
        raise BundleError(
            "expected a LayerNormalization of the last axes with a constant scale and one output, "
            f"got {node.name or node.output[0]!r}: take TensorRT 8.6 or later"
        )
    result, x, scale = node.output[0], node.input[0], node.input[1]
    bias = next((name for name in node.input[2:] if name), None)
    prefix = f"{result}::"
    count = math.prod(shape)
    numbers: Mapping[str, npt.NDArray[Any]] = {
        "axes": np.arange(-len(shape), 0, dtype=np.int64),
        "share": np.array(1 / count, np.float32),
        "root": np.array(1 / math.sqrt(count), np.float32),
        "epsilon": np.array(attributes.get("epsilon", _EPSILON), np.float32),
    }
    for name, value in numbers.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, prefix + name))
    steps: _Steps = (
        ("Mul", x, prefix + "share", prefix + "shares"),
        ("ReduceSum", prefix + "shares", prefix + "axes", prefix + "mean"),
        ("Sub", x, prefix + "mean", prefix + "centred"),
        ("Mul", prefix + "centred", prefix + "root", prefix + "small"),
        ("Mul", prefix + "small", prefix + "small", prefix + "squares"),
        ("ReduceSum", prefix + "squares", prefix + "axes", prefix + "variance"),
        ("Add", prefix + "variance", prefix + "epsilon", prefix + "above"),
        ("Sqrt", prefix + "above", None, prefix + "spread"),
        ("Div", prefix + "centred", prefix + "spread", prefix + "normal"),
        ("Mul", prefix + "normal", scale, prefix + "scaled" if bias else result),
        *((("Add", prefix + "scaled", bias, result),) if bias else ()),
    )
    return [
        onnx.helper.make_node(operator, [first] if second is None else [first, second], [output])
        for operator, first, second, output in steps
    ]


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
