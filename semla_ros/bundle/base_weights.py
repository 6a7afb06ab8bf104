"""The kept base weights W0: every merge starts from them, so no error ever accumulates.

They lie in memory once per process, in the layout of the graphs: a merge writes into an engine's
buffer without turning anything, and whoever opens the same bundle again gets the same arrays.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping
from weakref import WeakValueDictionary

import cv2
import numpy as np
from safetensors import SafetensorError, safe_open

from semla_ros.bundle import GraphWeight, ModelBundle
from semla_ros.core.errors import BundleError
from semla_ros.core.types import Float32Array

MAX_MAGNITUDE = 1e37
"""Base weights up to this leave room for a merge below the largest float32, 3.4e38."""


class BaseWeights:
    """W0 of every adaptable layer, float32, read-only."""

    def __init__(
        self, weights: Mapping[str, Float32Array], *, transposed: Collection[str] = ()
    ) -> None:
        """Keep `weights`.

        Args:
            weights: Layer name -> (out, in).
            transposed: Layers to keep as (in, out), as their graph has them.

        Raises:
            BundleError: A value is not finite, or too large to add anything to.
        """
        self._transposed = frozenset(transposed)
        self._stored = {
            name: _stored(name, array, transposed=name in self._transposed)
            for name, array in weights.items()
        }

    @classmethod
    def open(cls, bundle: ModelBundle) -> BaseWeights:
        """Return the base weights of every adaptable layer of `bundle`, in memory.

        As long as anyone uses them, another call for the same file returns the same object.

        Raises:
            BundleError: A parameter is missing, damaged or of another shape.
        """
        try:
            facts = bundle.weights.stat()
        except OSError as error:
            raise _damaged(bundle, error) from error
        layers = tuple(bundle.manifest.layers)
        key = (str(bundle.weights), facts.st_ino, facts.st_size, facts.st_mtime_ns, layers)
        with _OPENING:
            known = _OPEN.get(key)
            if known is None:
                known = cls._read(bundle)
                _OPEN[key] = known
        return known

    @classmethod
    def _read(cls, bundle: ModelBundle) -> BaseWeights:
        transposed = {layer.name for layer in bundle.manifest.layers if layer.transposed}
        base = cls({}, transposed=transposed)
        try:
            for name, tensor in _tensors(bundle):
                base._stored[name] = _stored(name, tensor, transposed=name in transposed)
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            raise _damaged(bundle, error) from error
        return base

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the adaptable layers."""
        return tuple(self._stored)

    def get(self, layer: str) -> Float32Array:
        """Return W0 of `layer`, (out, in) float32, read-only; a turned view where kept so.

        Raises:
            BundleError: No such layer.
        """
        if layer not in self._stored:
            raise BundleError(
                f"expected one of the {len(self._stored)} adaptable layers, got {layer!r}"
            )
        stored = self._stored[layer]
        return stored.T if layer in self._transposed else stored

    def as_stored(self, layer: str) -> Float32Array:
        """Return W0 of `layer` as its graph has it, C-contiguous, read-only.

        Raises:
            BundleError: No such layer.
        """
        return self.get(layer).T if layer in self._transposed else self.get(layer)


_Key = tuple[str, int, int, int, tuple[GraphWeight, ...]]
_OPEN: WeakValueDictionary[_Key, BaseWeights] = WeakValueDictionary()
_OPENING = threading.Lock()


def _tensors(bundle: ModelBundle) -> Iterator[tuple[str, Float32Array]]:
    """Yield name and weight (out, in) of every adaptable layer, one in memory at a time."""
    where = bundle.weights.name
    with safe_open(bundle.weights, framework="np") as file:
        keys = set(file.keys())
        for layer in bundle.manifest.layers:
            if layer.parameter not in keys:
                raise BundleError(f"{where} lacks {layer.parameter!r}: rebuild the bundle")
            shape = tuple(file.get_slice(layer.parameter).get_shape())
            expected = layer.graph_shape if layer.kernel else tuple(layer.shape)
            if shape != expected:
                raise BundleError(
                    f"{where}: expected {layer.parameter!r} of shape {expected!r}, "
                    f"got {shape!r}: rebuild the bundle"
                )
            yield layer.name, file.get_tensor(layer.parameter).reshape(layer.shape)


def _stored(name: str, weight: Float32Array, *, transposed: bool) -> Float32Array:
    kept: Float32Array = np.ascontiguousarray(weight, dtype=np.float32)
    if transposed:
        turned: Float32Array = np.empty(kept.shape[::-1], np.float32)
        cv2.transpose(kept, dst=turned)
        kept = turned
    elif kept is weight:
        kept = kept[...]
    if kept.size and not max(float(kept.max()), -float(kept.min())) <= MAX_MAGNITUDE:
        raise BundleError(
            f"base weight {name!r}: expected finite values up to {MAX_MAGNITUDE:g}, got NaN or "
            "larger ones: rebuild the bundle"
        )
    kept.setflags(write=False)
    return kept


def _damaged(bundle: ModelBundle, error: Exception) -> BundleError:
    return BundleError(f"{bundle.weights.name}: damaged ({error}): restore the bundle")
