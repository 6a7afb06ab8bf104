"""Merging where torch keeps its weights: layers of one shape are one stacked product.

On a GPU the factors travel (megabytes), the merged weights do not (hundreds of megabytes). torch
is imported when a bank is made, never when this module is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from semla_ros.bundle import GraphWeight
from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.core.types import Float32Array
from semla_ros.core.weights import LayerFactors, WeightSource

if TYPE_CHECKING:
    from torch import Tensor

_Shape = tuple[int, ...]
Stacks = dict[_Shape, "Tensor"]
"""Shape in the graph -> (n, rows, columns) float32: the weights of the n layers of that shape."""


class TorchBank:
    """W0 of every layer on a device, and the merge of a mix from it into a slot."""

    def __init__(
        self,
        layers: Mapping[str, GraphWeight],
        base: BaseWeights,
        *,
        device: str = "cpu",
    ) -> None:
        """Put W0 on `device`.

        Args:
            layers: By name.
            base: W0.
            device: A torch device.
        """
        import torch

        self._layers = dict(layers)
        self._device = torch.device(device)
        self._groups: dict[_Shape, list[str]] = {}
        for name, layer in layers.items():
            self._groups.setdefault(layer.graph_shape, []).append(name)
        self._base: Stacks = {}
        for shape, names in self._groups.items():
            stacked = np.stack([base.as_stored(name) for name in names])
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

    def fill(self, weights: WeightSource, slot: Stacks) -> None:
        """Write W0 + change of every layer into `slot`, float32; layers without one get W0.

        Args:
            weights: Their factors are multiplied here; whole weights are copied.
            slot: Made by `slot`; not in use.

        Raises:
            SemlaError: A merged weight might not be finite; `slot` must then not be served.
        """
        for shape, names in self._groups.items():
            changes = {n: weights.factors(n) for n in names if n in weights.names}
            known = {name: factors for name, factors in changes.items() if factors is not None}
            self._merge(known, shape, names, out=slot[shape])
            for name in changes.keys() - known.keys():
                self._copy(weights, name, slot[shape][names.index(name)])

    def _merge(
        self, changes: Mapping[str, LayerFactors], shape: _Shape, names: list[str], *, out: Tensor
    ) -> None:
        import torch

        rank = max((len(factors.a) for factors in changes.values()), default=0)
        if rank == 0:
            out.copy_(self._base[shape])
            return
        rows = np.zeros((len(names), rank, shape[0]), np.float32)
        columns = np.zeros((len(names), rank, shape[1]), np.float32)
        for place, name in enumerate(names):
            if name in changes:
                left, right = _turned(changes[name], self._layers[name])
                rows[place, : len(left)] = left
                columns[place, : len(right)] = right
        torch.baddbmm(
            self._base[shape],
            torch.from_numpy(rows).to(self._device).transpose(1, 2),
            torch.from_numpy(columns).to(self._device),
            out=out,
        )

    def _copy(self, weights: WeightSource, name: str, view: Tensor) -> None:
        import torch

        laid_out: Float32Array = np.empty(tuple(view.shape), np.float32)
        weights.write(name, out=laid_out, transposed=self._layers[name].transposed)
        view.copy_(torch.from_numpy(laid_out))


def _turned(factors: LayerFactors, layer: GraphWeight) -> tuple[Float32Array, Float32Array]:
    """Return the factors along rows and along columns of the weight in the graph."""
    return (factors.a, factors.b) if layer.transposed else (factors.b, factors.a)
