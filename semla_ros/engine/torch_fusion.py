"""Merging where torch keeps its weights: layers of one shape are one stacked product.

On a GPU the factors travel (megabytes), the merged weights do not (hundreds of megabytes). torch
is imported when a bank is made, never when this module is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from semla_ros.bundle import GraphWeight
from semla_ros.core.lazy_weights import LayerFactors, LazyWeights
from semla_ros.core.types import Float32Array
from semla_ros.engine.weights import graph_shape, write_weight

if TYPE_CHECKING:
    from torch import Tensor

_Shape = tuple[int, int]
Stacks = dict[_Shape, "Tensor"]
"""Shape in the graph -> (n, rows, columns) float32: the weights of the n layers of that shape."""


class TorchBank:
    """W0 of every layer on a device, and the merge of a mix from it into a slot."""

    def __init__(
        self,
        layers: Mapping[str, GraphWeight],
        base: Mapping[str, Float32Array],
        *,
        device: str = "cpu",
    ) -> None:
        """Put W0 on `device`.

        Args:
            layers: By name.
            base: Layer name -> W0 (out, in).
            device: A torch device.
        """
        import torch

        self._layers = dict(layers)
        self._device = torch.device(device)
        self._groups: dict[_Shape, list[str]] = {}
        for name, layer in layers.items():
            self._groups.setdefault(graph_shape(layer), []).append(name)
        self._base: Stacks = {}
        for shape, names in self._groups.items():
            stacked: Float32Array = np.empty((len(names), *shape), np.float32)
            for place, name in zip(stacked, names, strict=True):
                write_weight(base[name], layers[name], out=place)
            self._base[shape] = torch.from_numpy(stacked).to(self._device)

    def slot(self) -> Stacks:
        """Return memory for one merged set, filled with W0."""
        return {shape: stack.clone() for shape, stack in self._base.items()}

    def views(self, slot: Stacks) -> dict[str, Tensor]:
        """Return layer name -> its weight within `slot`, in the layout of the graph."""
        return {
            name: slot[shape][i]
            for shape, names in self._groups.items()
            for i, name in enumerate(names)
        }

    def fill(self, weights: Mapping[str, Float32Array], slot: Stacks) -> None:
        """Write W0 + change of every layer into `slot`, float32; layers without one get W0.

        Args:
            weights: `LazyWeights`, whose factors are multiplied here, or plain arrays (out, in).
            slot: Made by `slot`; not in use.

        Raises:
            SemlaError: A merged weight might not be finite; `slot` must then not be served.
        """
        if isinstance(weights, LazyWeights):
            for shape, names in self._groups.items():
                self._merge(weights, shape, names, out=slot[shape])
            return
        for name, view in self.views(slot).items():
            self._put(weights, name, view)

    def _merge(
        self, weights: LazyWeights, shape: _Shape, names: list[str], *, out: Tensor
    ) -> None:
        import torch

        touched = [weights.factors(name) if name in weights else None for name in names]
        rank = max((len(factors.a) for factors in touched if factors), default=0)
        if rank == 0:
            out.copy_(self._base[shape])
            return
        rows = np.zeros((len(names), rank, shape[0]), np.float32)
        columns = np.zeros((len(names), rank, shape[1]), np.float32)
        for place, (name, factors) in enumerate(zip(names, touched, strict=True)):
            if factors is not None:
                left, right = _turned(factors, self._layers[name])
                rows[place, : len(left)] = left
                columns[place, : len(right)] = right
        torch.baddbmm(
            self._base[shape],
            torch.from_numpy(rows).to(self._device).transpose(1, 2),
            torch.from_numpy(columns).to(self._device),
            out=out,
        )

    def _put(self, weights: Mapping[str, Float32Array], name: str, view: Tensor) -> None:
        import torch

        layer = self._layers[name]
        if name not in weights:
            place = self._groups[graph_shape(layer)].index(name)
            view.copy_(self._base[graph_shape(layer)][place])
            return
        laid_out: Float32Array = np.empty(graph_shape(layer), np.float32)
        write_weight(weights[name], layer, out=laid_out)
        view.copy_(torch.from_numpy(laid_out))


def _turned(factors: LayerFactors, layer: GraphWeight) -> tuple[Float32Array, Float32Array]:
    """Return the factors along rows and along columns of the weight in the graph."""
    return (factors.a, factors.b) if layer.transposed else (factors.b, factors.a)
