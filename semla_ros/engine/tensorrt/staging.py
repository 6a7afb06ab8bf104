"""Weights on their way to the GPU: one block of memory, every weight at a fixed place in it.

The block has the same layout on the host and on the device, so a whole set travels in one copy.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt

from semla_ros.engine.weights import graph_shape, write_layer, write_weight
from semla_ros.errors import EngineError
from semla_ros.manifest import GraphWeight
from semla_ros.types import Float32Array

ALIGNMENT = 256
"""Bytes; what cudaMalloc gives, too."""

_SAMPLE_STEP = 997


@dataclass(frozen=True, slots=True)
class Place:
    """Where one weight lies in a block.

    Attributes:
        layer: The adaptable layer.
        offset: Bytes from the start.
        dtype: float32 or float16.
    """

    layer: GraphWeight
    offset: int
    dtype: npt.DTypeLike

    @property
    def count(self) -> int:
        """Number of values."""
        return self.layer.shape[0] * self.layer.shape[1]

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.count * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class Layout:
    """Places of all weights, by layer name; the same for every block of an engine."""

    places: Mapping[str, Place]
    nbytes: int

    @classmethod
    def of(cls, layers: Mapping[str, GraphWeight], dtypes: Mapping[str, npt.DTypeLike]) -> Layout:
        """Return a layout for `layers` with the dtype of each by layer name."""
        places, offset = {}, 0
        for name, layer in layers.items():
            places[name] = Place(layer, offset, dtypes[name])
            offset += -(-places[name].nbytes // ALIGNMENT) * ALIGNMENT
        return cls(places, max(offset, ALIGNMENT))


@dataclass(frozen=True, slots=True)
class Staged:
    """What is in a block.

    Attributes:
        fingerprint: Equal for equal bytes.
        sample: (n,) float32, some of the values, to tell how far two sets are apart.
    """

    fingerprint: int
    sample: Float32Array

    def distance(self, other: Staged) -> float:
        """Return the relative difference (L2) of the samples."""
        change = float(np.linalg.norm(self.sample - other.sample))
        return change / max(float(np.linalg.norm(other.sample)), 1e-30)


class HostBlock:
    """One whole set of weights in host memory, rounded to what the engine wants."""

    def __init__(
        self,
        layout: Layout,
        base: Mapping[str, Float32Array],
        memory: npt.NDArray[np.uint8],
    ) -> None:
        """Use `memory`, whose owner keeps it alive, and write the base weights.

        Args:
            layout: Places of the weights.
            base: Layer name -> W0 (out, in), kept for layers that a set leaves out.
            memory: (layout.nbytes,) uint8.
        """
        self.layout = layout
        self.memory = memory
        self._base = base
        self.arrays = {name: self._view(place) for name, place in layout.places.items()}
        largest = max((place.count for place in layout.places.values()), default=0)
        self._wide: Float32Array = np.empty(largest, np.float32)
        memory[:] = 0
        self.staged = self.write({})

    def write(self, weights: Mapping[str, Float32Array]) -> Staged:
        """Write the whole list: `weights`, and W0 of every layer that is not in it.

        Never only what changed: a refit with part of the list keeps residue of the set before.

        Raises:
            EngineError: A value does not fit the engine's type; the block is then half written.
        """
        given = frozenset(weights)  # `in` would merge a lazy weight only to see that it is there
        for name, place in self.layout.places.items():
            wide = self._wide[: place.count].reshape(graph_shape(place.layer))
            if name in given:
                write_layer(weights, place.layer, out=wide)
            else:
                write_weight(self._base[name], place.layer, out=wide)
            self._narrow(name, wide)
        self.staged = Staged(zlib.crc32(self.memory.data), self._sample())
        return self.staged

    def _narrow(self, name: str, wide: Float32Array) -> None:
        target = self.arrays[name]
        if target.dtype == np.float32:
            np.copyto(target, wide)
            return
        limit = float(np.finfo(target.dtype).max)
        largest = max(float(wide.max(initial=0.0)), -float(wide.min(initial=0.0)))
        if largest > limit:
            raise EngineError(
                f"weight {name!r}: expected values up to {limit:g} for {target.dtype}, got "
                f"{largest:g}: build the plan with precision fp32"
            )
        to_half(wide, out=target)

    def _sample(self) -> Float32Array:
        parts = [array.reshape(-1)[::_SAMPLE_STEP] for array in self.arrays.values()]
        return np.concatenate(parts).astype(np.float32) if parts else np.zeros(0, np.float32)

    def _view(self, place: Place) -> npt.NDArray[Any]:
        part = self.memory[place.offset : place.offset + place.nbytes]
        return part.view(place.dtype).reshape(graph_shape(place.layer))


def to_half(wide: Float32Array, *, out: npt.NDArray[np.float16]) -> None:
    """Round `wide` (rows, columns) to `out`, the nearest float16, ties to even.

    OpenCV 5 does it with vector instructions: eighteen times faster than numpy here.
    """
    if _opencv_rounds():
        np.copyto(out, _by_opencv(wide))
    else:
        np.copyto(out, wide, casting="same_kind")


def _by_opencv(wide: Float32Array) -> npt.NDArray[np.float16]:
    narrow = cv2.addWeighted(wide, 1.0, wide, 0.0, 0.0, dtype=cv2.CV_16F)
    return cast("npt.NDArray[np.float16]", narrow)


@functools.lru_cache(maxsize=1)
def _opencv_rounds() -> bool:
    """Return whether this OpenCV rounds as numpy does; those before 5 cannot at all.

    Ubuntu 24.04's (4.6) does not even have the type's name in Python.
    """
    if not hasattr(cv2, "CV_16F"):
        return False
    steps: Float32Array = np.arange(-4096, 4096, dtype=np.float32).reshape(64, 128)
    trial = steps * np.float32(1.0003) ** np.abs(steps)
    try:
        found = _by_opencv(trial)
    except cv2.error:
        return False
    return found.dtype == np.float16 and np.array_equal(found, trial.astype(np.float16))
