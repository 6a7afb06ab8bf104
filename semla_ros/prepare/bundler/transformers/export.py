"""Export a network of transformers as one ONNX graph whose adaptable weights are inputs.

Weights are inputs while the exporter looks, so that it can neither rename nor fold them, and get
their values afterwards as overridable initializers. Linear weights are stored (in, out), as a
MatMul reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.func import functional_call

from semla_ros.bundle import GraphWeight
from semla_ros.core.errors import TrainingError
from semla_ros.prepare.bundler.graph_file import save_graph
from semla_ros.prepare.bundler.onnx_export import Graph, trace
from semla_ros.prepare.bundler.transformers.heads import Segmenter
from semla_ros.prepare.bundler.transformers.layers import Layer
from semla_ros.prepare.bundler.transformers.scaled_products import scale_weights

_NETWORK = "network."


class _WithWeights(nn.Module):
    """The segmenter as a function of the image and of its adaptable weights."""

    def __init__(self, segmenter: Segmenter, layers: Sequence[Layer]) -> None:
        super().__init__()
        self.segmenter = segmenter
        self._layers = tuple(layers)

    def forward(self, image: Tensor, weights: list[Tensor]) -> Tensor:
        replaced = {
            f"{_NETWORK}{layer.name}.weight": weight if layer.kernel else weight.T
            for layer, weight in zip(self._layers, weights, strict=True)
        }
        answer: Tensor = functional_call(self.segmenter, replaced, (image,))
        return answer


def export_segmenter(
    segmenter: Segmenter,
    path: Path,
    layers: Sequence[Layer],
    *,
    size: tuple[int, int],
    any_size: bool,
) -> list[GraphWeight]:
    """Write `image` (B, 3, H, W) -> `logits` (B, T, h, w); return where each layer's weight lies.

    Layers that the forward pass does not read (an auxiliary head) are left out.

    Args:
        segmenter: In evaluation mode; left unchanged.
        path: The `.onnx` file to write.
        layers: What can be replaced.
        size: (H, W) of the image.
        any_size: Leave batch, height and width open.

    Raises:
        TrainingError: torch does not export this network.
    """
    weights = {layer.name: _stored(segmenter, layer) for layer in layers}
    dims = {0: torch.export.Dim("batch", min=1, max=64)} if any_size else {}
    if any_size:
        dims |= {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    graph = Graph(
        name="segmentation",
        module=_WithWeights(segmenter, layers).eval(),
        example=(torch.zeros(2 if any_size else 1, 3, *size), list(weights.values())),
        inputs={"image": dims, **{f"{name}.weight": {} for name in weights}},
        output="logits",
        dynamic_shapes=(dims, [{} for _ in weights]),
    )
    try:
        proto = trace(graph)
    except Exception as error:  # torch's exporter has no errors of its own
        reason = " ".join(str(error).split())[:300]
        raise TrainingError(
            f"torch does not export this network for {size[0]}x{size[1]} pixels ({reason}): "
            "give another --size, or the torch version this project is tested with"
        ) from error
    scale_weights(proto.graph, {f"{name}.weight" for name in weights})
    used = {name for node in proto.graph.node for name in node.input}
    kept = [layer for layer in layers if f"{layer.name}.weight" in used]
    _set_defaults(proto.graph, {f"{x.name}.weight": weights[x.name].numpy() for x in kept})
    if any_size:
        _name_open_sides(proto.graph)
    save_graph(proto, path)
    return [graph_weight(layer) for layer in kept]


def graph_weight(layer: Layer) -> GraphWeight:
    """Return what the manifest says of `layer`."""
    return GraphWeight(
        name=layer.name,
        parameter=f"{layer.name}.weight",
        graph="segmentation",
        initializer=f"{layer.name}.weight",
        transposed=not layer.kernel,
        shape=(layer.out, layer.inner),
        kernel=layer.kernel,
        aliases=layer.aliases,
    )


def _stored(segmenter: Segmenter, layer: Layer) -> Tensor:
    weight = segmenter.network.get_parameter(f"{layer.name}.weight").detach()
    return weight.clone() if layer.kernel else weight.T.contiguous()


def _name_open_sides(graph: onnx.GraphProto) -> None:
    image = next(each for each in graph.input if each.name == "image")
    for place, name in ((0, "batch"), (2, "height"), (3, "width")):
        image.type.tensor_type.shape.dim[place].dim_param = name


def _set_defaults(graph: onnx.GraphProto, defaults: Mapping[str, np.ndarray]) -> None:
    """Keep the inputs that are read: the image, and weights with their values."""
    kept = [each for each in graph.input if each.name in defaults or each.name == "image"]
    del graph.input[:]
    graph.input.extend(kept)
    for name, value in defaults.items():
        graph.initializer.append(numpy_helper.from_array(value, name))
