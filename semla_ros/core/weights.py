"""The weights of one mix: a source that writes a layer into whatever buffer shall serve it."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import cv2
import numpy as np

from semla_ros.core.errors import EngineError, VocabularyError
from semla_ros.core.types import AdapterMix, Float32Array, Vocabulary


@dataclass(frozen=True, slots=True)
class LayerFactors:
    """The change of one layer under a mix, still factored: delta = b.T @ a.

    Attributes:
        a: (R, in) float32 with every weight and scaling in it; R is the sum of the ranks.
        b: (R, out) float32.
    """

    a: Float32Array
    b: Float32Array


class WeightSource(Protocol):
    """Weights of the layers that differ from W0; nothing is computed before it is asked for."""

    @property
    def names(self) -> AbstractSet[str]:
        """Names of these layers; every other one is W0."""
        ...

    def shape(self, layer: str) -> tuple[int, int]:
        """Return (out, in) of `layer`."""
        ...

    def write(self, layer: str, *, out: Float32Array, transposed: bool) -> None:
        """Write the weight of `layer` into `out`.

        Args:
            layer: One of `names`.
            out: C-contiguous, (in, out) where `transposed`, else (out, in).
            transposed: Which of the two.

        Raises:
            SemlaError: A value might not be finite; `out` is then as it was.
        """
        ...

    def factors(self, layer: str) -> LayerFactors | None:
        """Return the change of `layer`, None where only the whole weight is known.

        Raises:
            SemlaError: A value of the weight might not be finite.
        """
        ...


class ArrayWeights:
    """Weights that lie in memory already, as measurements and tests have them.

    Attributes:
        arrays: Layer name -> (out, in) float32, finite.
    """

    def __init__(self, arrays: Mapping[str, Float32Array]) -> None:
        """Take `arrays`, which are not copied.

        Raises:
            EngineError: One has another type, not two axes, or a value that is not finite.
        """
        for name, array in arrays.items():
            if array.dtype != np.float32 or array.ndim != 2 or not np.isfinite(array).all():
                raise EngineError(
                    f"weight {name!r}: expected (out, in) of finite float32, got {array.shape!r} "
                    f"of {array.dtype} or values that are not finite"
                )
        self.arrays = MappingProxyType(dict(arrays))

    @property
    def names(self) -> AbstractSet[str]:
        """Names of the arrays."""
        return self.arrays.keys()

    def shape(self, layer: str) -> tuple[int, int]:
        """Return (out, in) of `layer`."""
        rows, columns = self.arrays[layer].shape
        return rows, columns

    def write(self, layer: str, *, out: Float32Array, transposed: bool) -> None:
        """Copy the weight of `layer` into `out`, see `WeightSource.write`.

        OpenCV transposes in blocks: five times faster than a strided copy of numpy.
        """
        if transposed:
            cv2.transpose(np.ascontiguousarray(self.arrays[layer]), dst=out)
        else:
            np.copyto(out, self.arrays[layer])

    def factors(self, layer: str) -> LayerFactors | None:
        """Return None: the change is not known apart from the weight."""
        del layer
        return None


UNCHANGED: WeightSource = ArrayWeights({})
"""W0 in every layer."""


def array_of(weights: WeightSource, layer: str) -> Float32Array:
    """Return the weight of `layer`, a new array (out, in).

    Raises:
        SemlaError: See `WeightSource.write`.
    """
    array: Float32Array = np.empty(weights.shape(layer), np.float32)
    weights.write(layer, out=array, transposed=False)
    return array


@dataclass(frozen=True, slots=True)
class WeightSet:
    """Everything an engine needs to serve one mix with one vocabulary.

    Attributes:
        mix: What the weights were merged from.
        weights: Of the segmentation graph's adaptable layers.
        text_features: (T, D) float32, L2-normalised, made with the merged text tower.
        vocabulary: The T classes.
    """

    mix: AdapterMix
    weights: WeightSource
    text_features: Float32Array
    vocabulary: Vocabulary

    def __post_init__(self) -> None:
        if self.text_features.ndim != 2 or len(self.text_features) != len(self.vocabulary.names):
            raise VocabularyError(
                f"expected text features of shape ({len(self.vocabulary.names)}, D), "
                f"got {self.text_features.shape}"
            )
