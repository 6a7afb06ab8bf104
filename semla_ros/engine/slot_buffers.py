"""The weights of one slot in our own memory, in the layout of the graph."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from semla_ros.bundle import GraphWeight
from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.core.weights import WeightSource

MOST_THREADS = 4
"""More than these wait for memory, not for arithmetic."""

_WORTH_THREADS = 4 * 2**20
"""Fewer values are merged before threads have started."""


class SlotBuffers:
    """One array for each adaptable layer; a runtime reads them without a copy.

    Attributes:
        arrays: Layer name -> float32 in graph layout; the arrays stay, their content changes.
        threads: That fill; one where there is little to write.
    """

    def __init__(
        self, layers: Mapping[str, GraphWeight], base: BaseWeights, *, threads: int = 1
    ) -> None:
        """Start with the base weights.

        Args:
            layers: By name.
            base: W0, kept for layers that go back to it.
            threads: That fill, at most `MOST_THREADS`; they are as nice as who calls `fill`.
        """
        self._matrices = {name: base.as_stored(name).copy() for name in layers}
        self.arrays = {
            name: matrix.reshape(layers[name].graph_shape)
            for name, matrix in self._matrices.items()
        }
        self._layers = layers
        self._base = base
        values = sum(array.size for array in self.arrays.values())
        self.threads = min(threads, MOST_THREADS) if values >= _WORTH_THREADS else 1
        self._touched: set[str] = set()

    def fill(self, weights: WeightSource) -> None:
        """Write `weights`; layers touched before and not now get W0 back.

        What is touched is noted first, so that a failure in between is repaired by the next fill.

        Raises:
            SemlaError: A merged weight might not be finite; this slot must not be served.
        """
        stale = self._touched - weights.names
        self._touched |= weights.names
        self._each(weights.names, lambda name: self._write(weights, name))
        self._each(stale, lambda name: np.copyto(self._matrices[name], self._base.as_stored(name)))
        self._touched -= stale

    def _write(self, weights: WeightSource, name: str) -> None:
        weights.write(name, out=self._matrices[name], transposed=self._layers[name].transposed)

    def _each(self, names: Collection[str], write: Callable[[str], None]) -> None:
        """Call `write` with each name, the largest layers first, and wait for all."""
        if self.threads == 1 or len(names) < 2:
            for name in names:
                write(name)
            return
        largest_first = sorted(names, key=lambda name: -self.arrays[name].size)
        with ThreadPoolExecutor(self.threads, thread_name_prefix="semla-merge") as pool:
            for written in [pool.submit(write, name) for name in largest_first]:
                written.result()
