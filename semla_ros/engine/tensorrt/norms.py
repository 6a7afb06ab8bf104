"""Norms in words that every parser of TensorRT reads.

Since opset 18 the axes of reductions are an input. The parser of TensorRT 8 passes over it without
a word for all but ReduceSum, which has had it since opset 13, and would reduce over everything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from semla_ros.errors import BundleError

_WITH_AXES = 2
_EPSILON = 1e-5
"""ONNX's default for LayerNormalization."""


def spell_out_norms(model: onnx.ModelProto, *, layer_normalization: bool) -> None:
    """Write ReduceL2, and on request LayerNormalization, as sums, products and roots.

    Args:
        model: Changed in place.
        layer_normalization: The parser knows it (TensorRT 8.6 and later), leave it.

    Raises:
        BundleError: A LayerNormalization has no constant scale, or more outputs are in use.
    """
    sizes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    constants: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type == "ReduceL2" and len(node.input) >= _WITH_AXES:
            nodes += _root_of_squares(node)
        elif node.op_type == "LayerNormalization" and not layer_normalization:
            nodes += _layer_norm(node, sizes, constants)
        else:
            nodes.append(node)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    model.graph.initializer.extend(constants)


def _root_of_squares(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    (result,) = node.output
    squared, total = f"{result}::squared", f"{result}::total"
    make = onnx.helper.make_node
    return [
        make("Mul", [node.input[0], node.input[0]], [squared]),
        make("ReduceSum", [squared, node.input[1]], [total], **_attributes(node)),
        make("Sqrt", [total], [result]),
    ]


@dataclass(frozen=True, slots=True)
class _Spelling:
    """What replaces one node; every name begins with that of its result."""

    result: str
    constants: list[onnx.TensorProto]
    nodes: list[onnx.NodeProto] = field(default_factory=list)

    def constant(self, name: str, value: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        """Return the name of a new constant."""
        array = np.asarray(value, dtype)
        self.constants.append(onnx.numpy_helper.from_array(array, f"{self.result}::{name}"))
        return f"{self.result}::{name}"

    def step(self, operator: str, first: str, second: str | None, name: str) -> str:
        """Return the name of a new node's output; without a `name` that is the result."""
        output = f"{self.result}::{name}" if name else self.result
        inputs = [first] if second is None else [first, second]
        node = onnx.helper.make_node(operator, inputs, [output])
        if operator == "ReduceSum":
            node.attribute.append(onnx.helper.make_attribute("keepdims", 1))
        self.nodes.append(node)
        return output


def _layer_norm(
    node: onnx.NodeProto,
    sizes: Mapping[str, tuple[int, ...]],
    constants: list[onnx.TensorProto],
) -> list[onnx.NodeProto]:
    """Return (x - mean) / sqrt(variance + epsilon) * scale + bias; its numbers go to `constants`.

    Values are divided by their number before they are summed, or FP16 would overflow.
    """
    x, shape, attributes = node.input[0], sizes.get(node.input[1], ()), _attributes(node)
    if not shape or attributes.get("axis", -1) != -len(shape) or any(node.output[1:]):
        raise BundleError(
            "expected a LayerNormalization of the last axes with a constant scale and one output, "
            f"got {node.name or node.output[0]!r}: take TensorRT 8.6 or later"
        )
    count, spell = math.prod(shape), _Spelling(node.output[0], constants)
    axes = spell.constant("axes", range(-len(shape), 0), np.int64)
    shares = spell.step("Mul", x, spell.constant("share", 1 / count), "shares")
    mean = spell.step("ReduceSum", shares, axes, "mean")
    centred = spell.step("Sub", x, mean, "centred")
    small = spell.step("Mul", centred, spell.constant("root", 1 / math.sqrt(count)), "small")
    squares = spell.step("Mul", small, small, "squares")
    variance = spell.step("ReduceSum", squares, axes, "variance")
    epsilon = spell.constant("epsilon", attributes.get("epsilon", _EPSILON))
    above = spell.step("Add", variance, epsilon, "above")
    spread = spell.step("Sqrt", above, None, "spread")
    normal = spell.step("Div", centred, spread, "normal")
    bias = next((name for name in node.input[2:] if name), None)
    scaled = spell.step("Mul", normal, node.input[1], "scaled" if bias else "")
    if bias:
        spell.step("Add", scaled, bias, "")
    return spell.nodes


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
