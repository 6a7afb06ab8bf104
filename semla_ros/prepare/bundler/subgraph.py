"""Parts of ONNX graphs: what a tensor is computed from, as a graph that runs by itself."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np
import onnx
import onnxruntime

from semla_ros.bundle.onnx_session import ORT_ERRORS
from semla_ros.core.errors import TrainingError
from semla_ros.core.types import Float32Array

IMAGE = "image"
_QUIET = 3


def computable(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Return the nodes that need nothing but the image and constants, in the graph's order.

    Initializers that are inputs as well may change: what depends on them is left out.
    """
    changing = {each.name for each in graph.input} - {IMAGE}
    known = {"", IMAGE, *(each.name for each in graph.initializer)} - changing
    found = []
    for node in graph.node:
        nested = any(each.HasField("g") for each in node.attribute)
        if not nested and known.issuperset(node.input):
            known.update(node.output)
            found.append(node)
    return found


def extracted(
    proto: onnx.ModelProto, nodes: Iterable[onnx.NodeProto], outputs: Sequence[onnx.ValueInfoProto]
) -> onnx.ModelProto:
    """Return a model with input `image` and those of `nodes` that `outputs` are computed from.

    Args:
        proto: What it is a part of.
        nodes: In order, all that is needed.
        outputs: Tensors of `nodes`.
    """
    needed = {each.name for each in outputs}
    kept = []
    for node in reversed(list(nodes)):
        if not needed.isdisjoint(node.output):
            needed.update(node.input)
            kept.append(node)
    graph = onnx.helper.make_graph(
        kept[::-1],
        proto.graph.name,
        [each for each in proto.graph.input if each.name == IMAGE],
        outputs,
        [each for each in proto.graph.initializer if each.name in needed],
    )
    return onnx.helper.make_model(
        graph,
        opset_imports=proto.opset_import,
        ir_version=proto.ir_version,
        functions=proto.functions,
    )


def answers(
    proto: onnx.ModelProto, images: Iterable[Float32Array], names: Collection[str]
) -> list[list[np.ndarray]]:
    """Return the outputs `names` of the model for each of `images` (1, 3, H, W).

    Raises:
        TrainingError: ONNX Runtime does not run it.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _QUIET
    try:
        session = onnxruntime.InferenceSession(
            proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return [session.run(list(names), {IMAGE: image}) for image in images]
    except ORT_ERRORS as error:
        reason = " ".join(str(error).split())[:200]
        raise TrainingError(
            f"ONNX Runtime does not run the navigator's graph ({reason}): give another one"
        ) from error


def rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Rename a tensor wherever it stands."""
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new
    for each in (*graph.input, *graph.output, *graph.initializer):
        if each.name == old:
            each.name = new


def value_of(proto: onnx.ModelProto, name: str, width: int | str) -> onnx.ValueInfoProto:
    """Return what a model says of its output `name` (B, width), B as the image has it."""
    image = next(each for each in proto.graph.input if each.name == IMAGE)
    batch = image.type.tensor_type.shape.dim[0]
    size = batch.dim_value or batch.dim_param or "batch"
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [size, width])
