"""The early layers of an ONNX graph: the feature maps in which weather shows.

Contrast, blur, noise and colour are what a network's last layers are trained to overlook; its
first ones still have them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

import onnx

from semla_ros.core.errors import TrainingError
from semla_ros.core.types import Float32Array
from semla_ros.prepare.bundler.subgraph import IMAGE, answers, computable, extracted

PARTS = 3
"""Early is the first of so many parts of a network, by its layers."""

_WEIGHTED = ("Conv", "Gemm", "MatMul")
_MAX_TOKENS = 8
"""Most tokens that a transformer has before those of its patches."""

Size = tuple[int, int]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FeatureMap:
    """A tensor with one vector for each pixel or patch.

    Attributes:
        tensor: Its name.
        size: (h, w) pixels or patches.
        axes: Over which they lie.
        skipped: Tokens before the patches, such as the class token.
        channels: Length of the vectors.
    """

    tensor: str
    size: Size
    axes: tuple[int, ...]
    skipped: int
    channels: int


def early_maps(proto: onnx.ModelProto, image: Float32Array) -> tuple[FeatureMap, ...]:
    """Return the last feature map of each size in the first third of the network's layers.

    Of the maps of a size it is the last sum of a residual connection, where there is one. What
    depends on weights that may change (initializers that are inputs, too), or on other inputs than
    the image, is left out.

    Args:
        proto: Takes `image`.
        image: (1, 3, H, W), as it takes it.

    Raises:
        TrainingError: There is none, or ONNX Runtime does not run the graph.
    """
    depths = _depths(proto.graph)
    early = _early_nodes(proto.graph, depths)
    shapes = _shapes(proto, early, image, depths)
    sizes = _sizes(early, shapes)
    chosen: dict[Size, tuple[bool, FeatureMap]] = {}
    for node in early:
        for name in node.output:
            found = _as_map(name, shapes.get(name, ()), sizes)
            if found is not None:
                residual = _is_residual(node, depths)
                if residual or not chosen.get(found.size, (False,))[0]:
                    chosen[found.size] = residual, found
    if not chosen:
        raise TrainingError(
            "expected feature maps of a convolution in the first third of the network that no "
            "adapter changes, found none: take the navigator's embedding, or another navigator"
        )
    return tuple(found for _, found in chosen.values())


def _depths(graph: onnx.GraphProto) -> dict[str, int]:
    """Return how many layers lie between the image and each tensor that depends on it."""
    depths = {IMAGE: 0}
    for node in graph.node:
        before = [depths[name] for name in node.input if name in depths]
        if before:
            depth = max(before) + _is_layer(node, depths)
            depths.update(dict.fromkeys(node.output, depth))
    return depths


def _is_layer(node: onnx.NodeProto, depths: Mapping[str, int]) -> bool:
    """Return whether the node multiplies features with weights."""
    features = sum(name in depths for name in node.input)
    return node.op_type in _WEIGHTED and 0 < features < len(node.input)


def _is_residual(node: onnx.NodeProto, depths: Mapping[str, int]) -> bool:
    """Return whether the node adds features to what layers have made of them."""
    return node.op_type == "Add" and len({depths.get(name) for name in node.input} - {None}) == 2


def _early_nodes(graph: onnx.GraphProto, depths: Mapping[str, int]) -> list[onnx.NodeProto]:
    """Return the nodes of the first layers that need nothing but the image."""
    layers = [node.output[0] for node in graph.node if _is_layer(node, depths)]
    late = layers[math.ceil(len(layers) / PARTS) :][:1]
    first = {node.output[0] for node in takewhile(lambda n: n.output[0] not in late, graph.node)}
    return [node for node in computable(graph) if node.output[0] in first]


def _shapes(
    proto: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    image: Float32Array,
    depths: Mapping[str, int],
) -> dict[str, Shape]:
    """Return the shape of every tensor that a layer has had a part in."""
    names = [name for node in nodes for name in node.output if depths.get(name, 0) > 0]
    measured = [
        onnx.helper.make_node("Shape", [name], [f"{name}::shape"], name=f"{name}::shape")
        for name in names
    ]
    outputs = [
        onnx.helper.make_tensor_value_info(each.output[0], onnx.TensorProto.INT64, None)
        for each in measured
    ]
    if not names:
        return {}
    model = extracted(proto, [*nodes, *measured], outputs)
    (found,) = answers(model, [image], [each.name for each in outputs])
    return {name: tuple(shape.tolist()) for name, shape in zip(names, found, strict=True)}


def _sizes(nodes: Iterable[onnx.NodeProto], shapes: Mapping[str, Shape]) -> list[Size]:
    """Return the sizes (h, w) that convolutions give their maps."""
    found = [shapes[n.output[0]] for n in nodes if n.op_type == "Conv" and n.output[0] in shapes]
    return [(s[2], s[3]) for s in found if len(s) == 4 and min(s[2:]) > 1]


def _as_map(name: str, shape: Shape, sizes: Sequence[Size]) -> FeatureMap | None:
    """Return the tensor as a map of one of `sizes`; None if it is something else."""
    if len(shape) == 4 and shape[0] == 1:
        if shape[2:] in sizes:
            return FeatureMap(name, (shape[2], shape[3]), (2, 3), 0, shape[1])
        if shape[1:3] in sizes:
            return FeatureMap(name, (shape[1], shape[2]), (1, 2), 0, shape[3])
    if len(shape) == 3 and shape[0] == 1:
        for size in reversed(sizes):
            skipped = shape[1] - math.prod(size)
            if 0 <= skipped <= _MAX_TOKENS:
                return FeatureMap(name, size, (1,), skipped, shape[2])
    return None
