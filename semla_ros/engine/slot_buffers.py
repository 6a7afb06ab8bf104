"""The weights of one slot in our own memory, in the layout of the graph."""

from __future__ import annotations

from collections.abc import Mapping

from semla_ros.bundle import GraphWeight
from semla_ros.engine.weights import graph_array, write_layer, write_weight
from semla_ros.types import Float32Array


class SlotBuffers:
    """One array for each adaptable layer; a runtime reads them without a copy.

    Attributes:
        arrays: Layer name -> float32 in graph layout; the arrays stay, their content changes.
    """

    def __init__(
        self, layers: Mapping[str, GraphWeight], base: Mapping[str, Float32Array]
    ) -> None:
        """Start with the base weights.

        Args:
            layers: By name.
            base: Layer name -> W0 (out, in), kept for layers that go back to it.
        """
        self.arrays = {name: graph_array(base[name], layer) for name, layer in layers.items()}
        self._layers = layers
        self._base = base
        self._touched: set[str] = set()

    def fill(self, weights: Mapping[str, Float32Array]) -> None:
        """Write `weights`, lazy ones by merging; layers touched before and not now get W0 back.

        What is touched is noted first, so that a failure in between is repaired by the next fill.

        Raises:
            SemlaError: A merged weight might not be finite; this slot must not be served.
        """
        stale = self._touched - weights.keys()
        self._touched |= weights.keys()
        for name in weights:
            write_layer(weights, self._layers[name], out=self.arrays[name])
        for name in stale:
            write_weight(self._base[name], self._layers[name], out=self.arrays[name])
        self._touched -= stale
