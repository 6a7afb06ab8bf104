"""Export the network as two ONNX graphs whose adaptable weights can be replaced at run time.

Every adaptable weight keeps its parameter name, is stored (in, out) so that a MatMul reads it
directly, and is listed among the graph inputs as well: an overridable initializer, which a
runtime may feed with fused weights or leave at its base value.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from semla_ros.bundle import GraphWeight
from semla_ros.core.errors import TrainingError
from semla_ros.core.types import MAX_CLASSES
from semla_ros.engine.weights import SECOND_TAP
from semla_ros.network.catseg import CatSeg
from semla_ros.network.in_out import with_in_out_linears
from semla_ros.network.layers import AdaptableLayer
from semla_ros.prepare.bundler.graph_file import save_graph

OPSET = 18
"""The oldest opset torch's exporter writes itself."""

_EXAMPLE_CLASSES = 3
_EXAMPLE_LENGTH = 5

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Graph:
    """What torch is asked to export; inputs with a default need not be fed.

    `dynamic_shapes` is for arguments that hold several inputs each; None: one input an argument.
    """

    name: str
    module: nn.Module
    example: tuple[Tensor | list[Tensor], ...]
    inputs: Mapping[str, Mapping[int, torch.export.Dim]]
    output: str
    defaults: Mapping[str, npt.NDArray[np.int64]] = field(default_factory=dict)
    dynamic_shapes: tuple[object, ...] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def export_segmentation(
    model: CatSeg,
    path: Path,
    layers: Sequence[AdaptableLayer],
    *,
    choose_tap: bool = False,
    max_classes: int = MAX_CLASSES,
) -> dict[str, GraphWeight]:
    """Write `image` (1, 3, S, S), `text_features` (T, D) -> `logits` (1, T, h, w).

    T may be anything from 1 to `max_classes` at run time; images are float32 RGB 0..255, logits
    come before the sigmoid.

    Args:
        model: the network; left unchanged.
        path: the `.onnx` file to write.
        layers: what can be replaced; those of the text tower are passed over.
        choose_tap: add the overridable input `second_tap` (1,) int64, see `CatSeg.forward`;
            2 where it is not fed.
        max_classes: longest class list; above the configuration's `pad_len` the graph keeps the
            most similar classes of each image, up to it the graph is free of that.

    Returns:
        Where each layer's weight lies in the graph, by module name.

    Raises:
        TrainingError: a layer is not used, or the exporter rewrote its weight.
    """
    config = model.config
    chosen = [layer for layer in layers if layer.tower != "text"]
    _require_used(chosen)
    changed = with_in_out_linears(model, [layer.name for layer in chosen]).eval()
    _store_resized_positions(changed)
    changed.aggregator.always_select = max_classes > config.pad_len
    classes = torch.export.Dim("classes", min=1, max=max_classes)
    example = (
        torch.zeros(1, 3, config.resolution, config.resolution),
        torch.full((_EXAMPLE_CLASSES, config.embed_dim), config.embed_dim**-0.5),
    )
    graph = Graph(
        name="segmentation",
        module=changed,
        example=(*example, torch.tensor([2])) if choose_tap else example,
        inputs={"image": {}, "text_features": {0: classes}}
        | ({SECOND_TAP: {}} if choose_tap else {}),
        output="logits",
        defaults={SECOND_TAP: np.array([2], np.int64)} if choose_tap else {},
    )
    return _export(graph, path, chosen)


def export_text_encoder(
    model: CatSeg, path: Path, layers: Sequence[AdaptableLayer]
) -> dict[str, GraphWeight]:
    """Write `tokens` (T, L) int64 -> `text_features` (T, D), L2-normalised.

    L may be anything from 2 to the context length: crop to the longest prompt.

    Args:
        model: the network; left unchanged.
        path: the `.onnx` file to write.
        layers: what can be replaced; only those of the text tower are used.

    Returns:
        Where each layer's weight lies in the graph, by module name.

    Raises:
        TrainingError: the exporter rewrote a weight.
    """
    chosen = [layer for layer in layers if layer.tower == "text"]
    changed = with_in_out_linears(model, [layer.name for layer in chosen]).eval()
    prompts = torch.export.Dim("prompts", min=1, max=65536)
    length = torch.export.Dim("length", min=2, max=model.config.context_length)
    graph = Graph(
        name="text",
        module=TextTower(changed).eval(),
        example=(torch.ones(_EXAMPLE_CLASSES, _EXAMPLE_LENGTH, dtype=torch.int64),),
        inputs={"tokens": {0: prompts, 1: length}},
        output="text_features",
    )
    return _export(graph, path, chosen)


def export_image_encoder(module: nn.Module, path: Path, *, size: int) -> None:
    """Write `image` (1, 3, size, size), normalised float32 -> `embedding` (1, E).

    Args:
        module: the encoder; left unchanged.
        path: the `.onnx` file to write.
        size: side of the input in pixels.
    """
    graph = Graph(
        name="image encoder",
        module=module.eval(),
        example=(torch.zeros(1, 3, size, size),),
        inputs={"image": {}},
        output="embedding",
    )
    _export(graph, path, ())


def export_text_half(
    module: nn.Module, path: Path, *, length: int, metadata: Mapping[str, str]
) -> None:
    """Write `tokens` (T, length) int64 -> `embedding` (T, E).

    Args:
        module: the text half of a CLIP; left unchanged.
        path: the `.onnx` file to write.
        length: tokens of a text, zero after its end mark.
        metadata: what the graph says of itself.
    """
    graph = Graph(
        name="text half",
        module=module.eval(),
        example=(torch.ones(_EXAMPLE_CLASSES, length, dtype=torch.int64),),
        inputs={"tokens": {0: torch.export.Dim("texts", min=1, max=65536)}},
        output="embedding",
        metadata=metadata,
    )
    _export(graph, path, ())


def graph_weights(layers: Iterable[AdaptableLayer]) -> dict[str, GraphWeight]:
    """Return where each layer's weight lies in the exported graphs, by module name."""
    return {
        layer.name: GraphWeight(
            name=layer.name,
            parameter=layer.parameter,
            graph="text" if layer.tower == "text" else "segmentation",
            initializer=layer.parameter,
            transposed=True,
            shape=layer.shape,
        )
        for layer in layers
    }


class TextTower(nn.Module):
    """The text half of the network, its parameters under their full names."""

    def __init__(self, model: CatSeg) -> None:
        super().__init__()
        self.sem_seg_head = model.sem_seg_head

    def forward(self, tokens: Tensor) -> Tensor:
        """Return text features (T, D) of tokens (T, L)."""
        return self.sem_seg_head.predictor.clip_model.encode_text(tokens)


def _store_resized_positions(model: CatSeg) -> None:
    """Resize the position embedding once, here, instead of at every run of the graph."""
    visual = model.clip.visual
    visual.positional_embedding = nn.Parameter(visual.resized_positions().detach())
    visual.position_grid = visual.grid


def _require_used(layers: Sequence[AdaptableLayer]) -> None:
    unused = [layer.name for layer in layers if not layer.used]
    if unused:
        raise TrainingError(
            f"expected layers that the forward pass reads, got {unused!r}; "
            "leave out layers with used=False"
        )


def _export(graph: Graph, path: Path, layers: Sequence[AdaptableLayer]) -> dict[str, GraphWeight]:
    proto = trace(graph)
    parameters = dict(graph.module.named_parameters())
    for layer in layers:
        _make_overridable(proto.graph, layer, parameters[layer.parameter])
    for name, value in graph.defaults.items():
        proto.graph.initializer.append(numpy_helper.from_array(value, name))
    if graph.metadata:
        onnx.helper.set_model_props(proto, dict(graph.metadata))
    save_graph(proto, path)
    _LOG.info("wrote %s: %d nodes, %d weights", path, len(proto.graph.node), len(layers))
    return graph_weights(layers)


def trace(graph: Graph) -> onnx.ModelProto:
    """Return what torch's exporter makes of `graph`.

    Raises:
        TrainingError: Nothing; torch is too old.
    """
    with warnings.catch_warnings(), _quiet("onnxscript"):
        # torch's exporter copies one of its own deprecated types.
        warnings.filterwarnings("ignore", message=r".*LeafSpec", category=FutureWarning)
        program = torch.onnx.export(
            graph.module,
            graph.example,
            input_names=list(graph.inputs),
            output_names=[graph.output],
            opset_version=OPSET,
            dynamo=True,
            optimize=True,
            verbose=False,
            dynamic_shapes=graph.dynamic_shapes
            or tuple(dict(axes) for axes in graph.inputs.values()),
        )
    if program is None:
        raise TrainingError(
            f"expected an exported {graph.name} graph, got none; use torch 2.6 or newer"
        )
    proto: onnx.ModelProto = program.model_proto
    return proto


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Let the logger `name` speak of errors only; the exporter explains its rewrites."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _make_overridable(graph: onnx.GraphProto, layer: AdaptableLayer, weight: Tensor) -> None:
    """List the layer's initializer among the graph inputs, once it is sure to be the weight."""
    name = layer.parameter
    found = [tensor for tensor in graph.initializer if tensor.name == name]
    readers = {node.op_type for node in graph.node if name in node.input}
    if (
        len(found) != 1
        or readers != {"MatMul"}
        or not np.array_equal(numpy_helper.to_array(found[0]), weight.detach().numpy())
    ):
        raise TrainingError(
            f"expected {name!r} once in the graph, read by MatMul only, got {len(found)!r} "
            f"initializers read by {sorted(readers)!r}; the exporter rewrote the weight: "
            "export with the torch version this project is tested with"
        )
    out_features, in_features = layer.shape
    graph.input.append(
        onnx.helper.make_tensor_value_info(
            name, onnx.TensorProto.FLOAT, [in_features, out_features]
        )
    )
