"""Merged weights that exist only where they are written to."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from semla_ros.core.types import Float32Array


@dataclass(frozen=True, slots=True)
class LayerFactors:
    """The change of one layer under a mix, still factored: delta = b.T @ a.

    Attributes:
        a: (R, in) float32 with every weight and scaling in it; R is the sum of the ranks.
        b: (R, out) float32.
    """

    a: Float32Array
    b: Float32Array


class LazyWeights(Mapping[str, Float32Array]):
    """Layer name -> merged weight (out, in) that exists only where it is written to.

    `weights[name]` makes a new array; an engine calls `write` with its own buffer instead.
    """

    @abstractmethod
    def __contains__(self, layer: object, /) -> bool:
        """Return whether `layer` is a key; `Mapping` would merge the layer to find out."""

    @abstractmethod
    def shape(self, layer: str) -> tuple[int, int]:
        """Return (out, in) of `layer`."""

    @abstractmethod
    def write(self, layer: str, *, out: Float32Array, transposed: bool) -> None:
        """Write the merged weight of `layer` into `out`.

        Args:
            layer: A key.
            out: C-contiguous, (in, out) where `transposed`, else (out, in).
            transposed: Which of the two.

        Raises:
            SemlaError: The result might not be finite.
        """

    @abstractmethod
    def factors(self, layer: str) -> LayerFactors:
        """Return the change of `layer`, for engines that multiply it out themselves.

        Raises:
            SemlaError: The merged weight might not be finite.
        """
