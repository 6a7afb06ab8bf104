"""Bring LayerScale into the weights: (x W + b) s becomes x (W s) + b s.

With W an input, OpenVINO has a slow kernel for the first form: 66 ms against 9 for one product in
float32, 525 against 2 in bfloat16, on a processor with AMX.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import numpy as np
import onnx
from onnx import helper, numpy_helper


def scale_weights(graph: onnx.GraphProto, weights: Collection[str]) -> int:
    """Rewrite the scaled products of `graph` whose weight is one of `weights`; return how many."""
    made_by = {name: node for node in graph.node for name in node.output}
    reads = Counter(name for node in graph.node for name in node.input)
    reads.update(each.name for each in graph.output)
    constants = {each.name: each for each in graph.initializer}
    count = 0
    for scaling in [node for node in graph.node if node.op_type == "Mul"]:
        found = _scaled_product(scaling, made_by, reads, constants, weights)
        if found is None:
            continue
        product, addition, bias, scale = found
        name = f"{product.input[1]}.scaled.{count}"
        vector = numpy_helper.to_array(constants[scale]).reshape(-1)
        scaled_bias = numpy_helper.to_array(constants[bias]) * vector
        graph.initializer.append(numpy_helper.from_array(vector, f"{name}.scale"))
        graph.initializer.append(
            numpy_helper.from_array(np.ascontiguousarray(scaled_bias), f"{name}.bias")
        )
        before = helper.make_node("Mul", [product.input[1], f"{name}.scale"], [name], name=name)
        graph.node.insert(list(graph.node).index(product), before)
        product.input[1] = name
        for index, each in enumerate(addition.input):
            if each == bias:
                addition.input[index] = f"{name}.bias"
        addition.output[0] = scaling.output[0]
        graph.node.remove(scaling)
        count += 1
    _forget_unread(graph, kept=set(constants) - set(reads))
    return count


def _forget_unread(graph: onnx.GraphProto, *, kept: Collection[str]) -> None:
    """Remove the constants that nothing reads any more, except `kept`."""
    read = {name for node in graph.node for name in node.input}
    read.update(each.name for each in graph.output)
    for each in [c for c in graph.initializer if c.name not in read and c.name not in kept]:
        graph.initializer.remove(each)


def _scaled_product(
    scaling: onnx.NodeProto,
    made_by: dict[str, onnx.NodeProto],
    reads: Counter[str],
    constants: dict[str, onnx.TensorProto],
    weights: Collection[str],
) -> tuple[onnx.NodeProto, onnx.NodeProto, str, str] | None:
    """Return product, addition, bias and scale where `scaling` scales a product; else None."""
    addition, scale = _operands(scaling, made_by, constants)
    if addition is None or addition.op_type != "Add" or reads[addition.output[0]] != 1:
        return None
    product, bias = _operands(addition, made_by, constants)
    if product is None or product.op_type != "MatMul" or reads[product.output[0]] != 1:
        return None
    if product.input[1] not in weights:
        return None
    sizes = [int(np.prod(constants[name].dims)) for name in (bias, scale)]
    return (product, addition, bias, scale) if sizes[0] == sizes[1] > 1 else None


def _operands(
    node: onnx.NodeProto,
    made_by: dict[str, onnx.NodeProto],
    constants: dict[str, onnx.TensorProto],
) -> tuple[onnx.NodeProto | None, str]:
    """Return the computed operand's node and the name of the constant one; None without these."""
    computed = [name for name in node.input if name in made_by]
    constant = [name for name in node.input if name in constants]
    if len(computed) != 1 or len(constant) != 1:
        return None, ""
    return made_by[computed[0]], constant[0]
