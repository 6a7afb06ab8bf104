"""`--navigator segmenter`: the segmentation graph says where it is, on its way to the mask.

Its early layers that no adapter changes give the channel statistics: a second output of the graph,
and the same nodes in a small graph of their own, for tools and engines that want no mask.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import onnx

from semla_ros.bundle import NavigatorSpec
from semla_ros.navigator.preprocess import SQUASH
from semla_ros.prepare.bundler.channel_statistics import OUTPUT, append_statistics
from semla_ros.prepare.bundler.graph_file import save_graph
from semla_ros.prepare.bundler.navigator_parts import SEGMENTER
from semla_ros.prepare.bundler.subgraph import computable, extracted, rename


def share_embedding(root: Path, *, base_model: str, shape: tuple[int, int]) -> NavigatorSpec:
    """Give segmentation.onnx in `root` the output `embedding`, and write navigator.onnx beside it.

    Args:
        root: Folder of the bundle.
        base_model: Identity of the base weights.
        shape: (H, W) of the graph's input.

    Returns:
        What the manifest says of the navigator. Its identity follows the base, the size and the
        layers that adapters may change.

    Raises:
        TrainingError: Adapters may change all of its early layers.
    """
    path = root / "segmentation.onnx"
    proto = onnx.load(str(path))
    height, width = shape
    spec = NavigatorSpec(
        identity="",
        size=height,
        resize=SQUASH,
        mean=(0.0, 0.0, 0.0),
        std=(1 / 255, 1 / 255, 1 / 255),
        dim=1,
        width=0 if width == height else width,
        shared=True,
    )
    rename(proto.graph, OUTPUT, f"{OUTPUT}::other")  # as exporters call the operator
    maps = append_statistics(proto, spec)
    graph = extracted(proto, computable(proto.graph), [proto.graph.output[-1]])
    kinds = " ".join(node.op_type for node in graph.graph.node)
    layers = hashlib.sha256(kinds.encode()).hexdigest()[:8]
    save_graph(graph, root / "navigator.onnx")
    (root / f"{path.name}.data").unlink(missing_ok=True)  # else it would be appended to
    save_graph(proto, path)
    identity = f"{SEGMENTER}/{base_model}@{height}x{width}+statistics:{layers}"
    return replace(spec, identity=identity, dim=2 * sum(each.channels for each in maps))
