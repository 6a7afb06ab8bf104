"""The bundle's ONNX graphs as TensorRT is given them. Needs the package `onnx`.

In the bundle every adaptable weight is an initializer and a graph input at once. ONNX says that
such an initializer may be overridden; TensorRT's parser either takes it as a constant or wants it
as an input, so here each weight becomes plainly one of the two, under its own name.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import onnx

from semla_ros.core.engines import F16
from semla_ros.core.errors import BundleError
from semla_ros.engine.tensorrt.half import to_half
from semla_ros.engine.tensorrt.norms import spell_out_norms
from semla_ros.engine.tensorrt.plans import (
    EMBEDDING,
    IMAGE,
    INPUTS,
    LOGITS,
    TEXT,
    PlanRequest,
    external_data,
)
from semla_ros.engine.weights import SECOND_TAP


def prepared_graph(wanted: PlanRequest, *, layer_normalization: bool = True) -> onnx.ModelProto:
    """Return the graph of the plan that is `wanted`; every shape is static.

    Args:
        wanted: Says which graph, what its weights become, classes and precision.
        layer_normalization: The parser knows that operator.

    Raises:
        BundleError: A weight is missing, a norm cannot be spelt out, or tensors lie in a file that
            the key does not cover.
    """
    model = load_graph(wanted.path)
    fed = wanted.weights if wanted.mode == INPUTS else ()
    chosen = (SECOND_TAP,) if wanted.has_tap else ()
    missing = {*wanted.weights, *chosen} - {tensor.name for tensor in model.graph.initializer}
    if missing:
        raise BundleError(
            f"{wanted.path.name}: expected the weights {sorted(missing)!r}, found none: rebuild "
            "the bundle"
        )
    as_inputs(model, (*fed, *chosen))
    drop_embedding(model)
    spell_out_norms(model, layer_normalization=layer_normalization)
    fix_axis(model, IMAGE, 1)
    fix_axis(model, TEXT, wanted.classes)
    if wanted.precision == F16:
        to_half(model, inputs=fed)
    return model


def load_graph(path: Path) -> onnx.ModelProto:
    """Return the graph of `path` with its external tensors.

    Raises:
        BundleError: Tensors lie elsewhere than in `<name>.data`.
    """
    model = onnx.load(str(path), load_external_data=False)
    places = {
        entry.value
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    expected = external_data(path).name
    if places - {expected}:
        raise BundleError(
            f"{path.name}: expected external tensors in {expected!r} only, got "
            f"{sorted(places)!r}: rebuild the bundle"
        )
    onnx.load_external_data_for_model(model, str(path.parent))
    return model


def save_graph(model: onnx.ModelProto, path: Path) -> None:
    """Write `model` to `path` and its tensors beside it, as a protobuf file ends at 2 GiB."""
    onnx.save(model, str(path), save_as_external_data=True, location=external_data(path).name)
    onnx.checker.check_model(str(path))


def as_inputs(model: onnx.ModelProto, names: Collection[str]) -> None:
    """Make those of `names` that are initializers inputs, all other initializers constants."""
    constants = []
    fed = []
    for tensor in model.graph.initializer:
        if tensor.name in names:
            value = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            fed.append(value)
        else:
            constants.append(onnx.TensorProto.FromString(tensor.SerializeToString()))
    initializers = {tensor.name for tensor in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in initializers]
    del model.graph.input[:]
    model.graph.input.extend([*inputs, *fed])
    del model.graph.initializer[:]
    model.graph.initializer.extend(constants)


def drop_embedding(model: onnx.ModelProto) -> None:
    """Leave a segmentation graph its logits alone: the navigator's own graph runs aside."""
    outputs = list(model.graph.output)
    if any(each.name == LOGITS for each in outputs):
        del model.graph.output[:]
        model.graph.output.extend(each for each in outputs if each.name != EMBEDDING)


def fix_axis(model: onnx.ModelProto, name: str, size: int) -> None:
    """Give the first axis of input `name`, and every output axis of the same name, `size`.

    A graph without such an input stays as it is.
    """
    found = next((each for each in model.graph.input if each.name == name), None)
    if found is None:
        return
    axis = found.type.tensor_type.shape.dim[0]
    symbol = axis.dim_param
    axis.dim_value = size
    for value in model.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if symbol and dim.dim_param == symbol:
                dim.dim_value = size
    del model.graph.value_info[:]
