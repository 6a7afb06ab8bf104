"""The bundle's ONNX graphs as TensorRT is given them. Needs the package `onnx`.

In the bundle every adaptable weight is an initializer and a graph input at once. ONNX says that
such an initializer may be overridden; TensorRT's parser either takes it as a constant or wants it
as an input, so here each weight becomes plainly one of the two, under its own name.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path

import onnx

from semla_ros.engine.tensorrt.factors import add_factors, factor_names
from semla_ros.engine.tensorrt.half import to_half
from semla_ros.engine.tensorrt.norms import spell_out_norms
from semla_ros.engine.tensorrt.options import FACTORS, IMAGE, INPUTS, TEXT, BuildOptions
from semla_ros.engine.tensorrt.plan_key import external_data
from semla_ros.engine.weights import SECOND_TAP
from semla_ros.errors import BundleError

MAX_INLINE_BYTES = 1_900_000_000
"""A protobuf file ends at 2 GiB."""


def prepared_graph(
    path: Path,
    options: BuildOptions,
    *,
    weights: Collection[str],
    cast: bool,
    layer_normalization: bool = True,
) -> onnx.ModelProto:
    """Return the graph of `path` as `options` want it.

    Args:
        path: The bundle's graph.
        options: Mode and class counts.
        weights: Initializers of the adaptable weights.
        cast: Make matrix products and convolutions FP16, for strong typing.
        layer_normalization: The parser knows that operator.

    Raises:
        BundleError: A weight is missing, a norm cannot be spelt out, or tensors lie in a file that
            the key does not cover.
    """
    model = load_graph(path)
    require_initializers(model, weights)
    free = fed_names(options, weights)
    as_inputs(model, [*(free if options.mode == INPUTS else ()), SECOND_TAP])
    as_constants(model)
    if options.mode == FACTORS:
        add_factors(model, weights, rank=options.rank)
    spell_out_norms(model, layer_normalization=layer_normalization)
    fix_axis(model, IMAGE, 1)
    if options.classes.static:
        fix_axis(model, TEXT, options.classes.best)
    if cast:
        to_half(model, inputs=free)
    onnx.checker.check_model(model)
    return model


def fed_names(options: BuildOptions, weights: Collection[str]) -> tuple[str, ...]:
    """Return the inputs of the prepared graph that are weights or factors of them."""
    if options.mode == FACTORS:
        return factor_names(weights)
    return tuple(weights) if options.mode == INPUTS else ()


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
    """Write `model` to `path`, its tensors beside it where they are too large."""
    size = sum(_bytes(tensor) for tensor in model.graph.initializer)
    if size > MAX_INLINE_BYTES:
        onnx.save(
            model,
            str(path),
            save_as_external_data=True,
            all_tensors_to_one_file=True,
            location=external_data(path).name,
        )
    else:
        onnx.save(model, str(path))


def require_initializers(model: onnx.ModelProto, names: Collection[str]) -> None:
    """Check that every one of `names` is an initializer.

    Raises:
        BundleError: One is not.
    """
    missing = set(names) - {tensor.name for tensor in model.graph.initializer}
    if missing:
        raise BundleError(
            f"expected the weights {sorted(missing)!r} in the graph, found none: rebuild the "
            "bundle"
        )


def as_constants(model: onnx.ModelProto) -> None:
    """Let no initializer be an input as well."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in constants]
    del model.graph.input[:]
    model.graph.input.extend(inputs)


def as_inputs(model: onnx.ModelProto, names: Collection[str]) -> None:
    """Make those of `names` that are initializers inputs without a default."""
    listed = {each.name for each in model.graph.input}
    kept = []
    for tensor in model.graph.initializer:
        if tensor.name not in names:
            kept.append(tensor)
        elif tensor.name not in listed:
            model.graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    copies = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
    del model.graph.initializer[:]
    model.graph.initializer.extend(copies)


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


def _bytes(tensor: onnx.TensorProto) -> int:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return int(math.prod(tensor.dims) * dtype.itemsize)
