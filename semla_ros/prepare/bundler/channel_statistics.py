"""Mean and standard deviation of each channel of a network's early layers as an embedding.

They are computed in the navigator's own graph, so a robot needs nothing new. Each feature is
measured from its mean over reference images, in units of its spread over them, and all together
are scaled to the distances of CLIP: Euclidean distances then weigh every channel alike, and
SemLA's published temperature keeps its meaning.

Source: Huang and Belongie, 2017, "Arbitrary style transfer in real-time with adaptive instance
    normalization", for channel statistics as style.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from torch import nn

from semla_ros.bundle import NavigatorSpec
from semla_ros.core.errors import TrainingError
from semla_ros.core.types import Float64Array
from semla_ros.prepare.bundler.early_layers import FeatureMap, early_maps
from semla_ros.prepare.bundler.navigator_parts import BOTH, EMBEDDING, NavigatorParts
from semla_ros.prepare.bundler.onnx_export import export_image_encoder
from semla_ros.prepare.bundler.reference_images import reference_images
from semla_ros.prepare.bundler.subgraph import answers, computable, extracted, rename, value_of
from semla_ros.prepare.bundler.verify import compare_graph

RADIUS = 10.0
"""Root mean square distance of reference images from their mean."""

OUTPUT = "embedding"
MIN_OPSET = 13
_AXES_ARE_INPUTS = 18
_POOLED, _RAW = "channel_statistics::pooled", "channel_statistics::raw"
_LEAST_SPREAD = 1e-6
_END = np.iinfo(np.int64).max


def with_features(parts: NavigatorParts, features: str) -> NavigatorParts:
    """Return the navigator with other `features`, one of `FEATURES`; its identity names them.

    Raises:
        TrainingError: The network has no early feature maps, does not run, or not as torch does.
    """
    if features == EMBEDDING:
        return parts
    spec = parts.spec
    proto = parts.encoder
    if isinstance(proto, nn.Module):
        proto = _exported(proto, spec)
    rename(proto.graph, OUTPUT, _POOLED)
    del proto.graph.output[:]
    maps = append_statistics(proto, spec, beside=_POOLED if features == BOTH else None)
    dim = 2 * sum(each.channels for each in maps) + (spec.dim if features == BOTH else 0)
    graph = extracted(proto, proto.graph.node, proto.graph.output)
    identity = f"{spec.identity}+{features}"
    return NavigatorParts(graph, replace(spec, identity=identity, dim=dim))


def _exported(module: nn.Module, spec: NavigatorSpec) -> onnx.ModelProto:
    """Return the graph of the encoder, once it answers as torch does."""
    with tempfile.TemporaryDirectory(prefix="semla-") as scratch:
        path = Path(scratch) / "navigator.onnx"
        export_image_encoder(module, path, size=spec.size)
        compare_graph(path, module, {"image": next(reference_images(spec))})
        return onnx.load(str(path))


def append_statistics(
    proto: onnx.ModelProto, spec: NavigatorSpec, *, beside: str | None = None
) -> tuple[FeatureMap, ...]:
    """Give `proto` the output `embedding` (B, D); return the maps whose statistics it holds.

    Args:
        proto: Takes `image`; changed in place.
        spec: Size and normalisation of the image.
        beside: A tensor (B, E) that comes first, weighing as much as all statistics.

    Raises:
        TrainingError: The network has no early feature maps, or does not run.
    """
    opset = next((each.version for each in proto.opset_import if not each.domain), 0)
    if opset < MIN_OPSET:
        raise TrainingError(
            f"expected a graph of opset {MIN_OPSET} or later, got {opset}: export it anew"
        )
    maps = early_maps(proto, next(reference_images(spec)))
    made = _Nodes(proto.graph, opset)
    made.add("Concat", [part for each in maps for part in made.moments(each)], _RAW, axis=1)
    raw = [_RAW] if beside is None else [beside, _RAW]
    part = extracted(proto, computable(proto.graph), [value_of(proto, name, "D") for name in raw])
    found = zip(*answers(part, reference_images(spec), raw), strict=True)
    rows = [np.concatenate(each).astype(np.float64) for each in found]
    share = RADIUS / math.sqrt(len(raw))
    scaled = [made.scaled(raw[-1], *_units(rows[-1], radius=share))]
    if beside is not None:
        scaled.insert(0, made.scaled(beside, *_length(rows[0], radius=share)))
    made.add("Concat", scaled, OUTPUT, axis=1)
    width = sum(each.shape[1] for each in rows)
    proto.graph.output.append(value_of(proto, OUTPUT, width))
    return maps


def _units(rows: Float64Array, *, radius: float) -> tuple[Float64Array, Float64Array]:
    """Return mean and factor (D,) that give every column of `rows` the same spread."""
    spread = rows.std(axis=0)
    least = max(_LEAST_SPREAD, _LEAST_SPREAD * float(spread.max()))
    return rows.mean(axis=0), radius / math.sqrt(rows.shape[1]) / np.maximum(spread, least)


def _length(rows: Float64Array, *, radius: float) -> tuple[Float64Array, Float64Array]:
    """Return mean (D,) and the one factor (1,) that bring `rows` to that radius."""
    spread = math.sqrt(float(rows.var(axis=0).sum()))
    return rows.mean(axis=0), np.array([radius / max(spread, _LEAST_SPREAD)])


class _Nodes:
    """What is added to a graph."""

    def __init__(self, graph: onnx.GraphProto, opset: int) -> None:
        self._graph = graph
        self._opset = opset

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:  # noqa: ANN401  of any node
        """Append a node; return the name of its output."""
        self._graph.node.append(
            helper.make_node(kind, inputs, [output], name=output, **attributes)
        )
        return output

    def constant(self, name: str, value: np.ndarray) -> str:
        """Append an initializer; return its name."""
        self._graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def moments(self, found: FeatureMap) -> tuple[str, str]:
        """Return the names of mean and standard deviation (B, C) over the map."""
        stem, x = f"channel_statistics::{found.tensor}", found.tensor
        if found.skipped:
            ends = [found.skipped, _END, 1]
            names = [
                self.constant(f"{stem}::{what}", np.array([value]))
                for what, value in zip(("from", "to", "axis"), ends, strict=True)
            ]
            x = self.add("Slice", [x, *names], f"{stem}::patches")
        axes = found.axes
        middle = self._mean(x, f"{stem}::middle", axes, keepdims=1)
        away = self.add("Sub", [x, middle], f"{stem}::away")
        squares = self.add("Mul", [away, away], f"{stem}::squares")
        variance = self._mean(squares, f"{stem}::variance", axes, keepdims=0)
        mean = self._mean(x, f"{stem}::mean", axes, keepdims=0)
        return mean, self.add("Sqrt", [variance], f"{stem}::std")

    def scaled(self, x: str, mean: Float64Array, factor: Float64Array) -> str:
        """Return the name of (x - mean) * factor."""
        means = self.constant(f"{x}::means", mean.astype(np.float32))
        factors = self.constant(f"{x}::factors", factor.astype(np.float32))
        away = self.add("Sub", [x, means], f"{x}::away")
        return self.add("Mul", [away, factors], f"{x}::scaled")

    def _mean(self, x: str, output: str, axes: tuple[int, ...], *, keepdims: int) -> str:
        if self._opset < _AXES_ARE_INPUTS:
            return self.add("ReduceMean", [x], output, axes=list(axes), keepdims=keepdims)
        places = self.constant(f"{output}::axes", np.array(axes))
        return self.add("ReduceMean", [x, places], output, keepdims=keepdims)
