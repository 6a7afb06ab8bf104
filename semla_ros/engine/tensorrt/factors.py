"""Adapters as inputs of the network: y = x W + (x A) B. Needs the package `onnx`.

A and B have a fixed rank, the largest sum of ranks a mix may have; smaller ones are padded with
zeros, and zeros alone are the base. Built to be measured against refitting.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx

from semla_ros.errors import BundleError


def factor_names(weights: Collection[str]) -> tuple[str, ...]:
    """Return the names of the inputs that `add_factors` makes: A and B of each of `weights`."""
    return tuple(f"{weight}::{factor}" for weight in weights for factor in "AB")


def add_factors(model: onnx.ModelProto, weights: Collection[str], *, rank: int) -> None:
    """Add A (in, rank) and B (rank, out) as inputs beside each of `weights` (in, out).

    Raises:
        BundleError: A weight is read by something else than the right side of a MatMul.
    """
    shapes = {t.name: tuple(t.dims) for t in model.graph.initializer if t.name in weights}
    nodes: list[onnx.NodeProto] = []
    make = onnx.helper.make_node
    for node in model.graph.node:
        read = shapes.keys() & set(node.input)
        if read and (node.op_type != "MatMul" or node.input[1] not in read):
            raise BundleError(
                f"weight {sorted(read)[0]!r}: expected it on the right of a MatMul, got "
                f"{node.op_type}: build with --mode refit"
            )
        if not read:
            nodes.append(node)
            continue
        weight, (result,) = node.input[1], node.output
        plain, low, change = (f"{result}::{part}" for part in ("plain", "low", "change"))
        nodes += [
            make("MatMul", [node.input[0], weight], [plain]),
            make("MatMul", [node.input[0], f"{weight}::A"], [low]),
            make("MatMul", [low, f"{weight}::B"], [change]),
            make("Add", [plain, change], [result]),
        ]
    for weight, (inner, out) in shapes.items():
        for factor, shape in (("A", (inner, rank)), ("B", (rank, out))):
            value = onnx.helper.make_tensor_value_info(
                f"{weight}::{factor}", onnx.TensorProto.FLOAT, shape
            )
            model.graph.input.append(value)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
