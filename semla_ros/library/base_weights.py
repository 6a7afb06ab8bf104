"""The kept base weights W0: every merge starts from them, so no error ever accumulates."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from safetensors import SafetensorError, safe_open

from semla_ros.bundle import ModelBundle
from semla_ros.errors import BundleError
from semla_ros.types import Float32Array


class BaseWeights:
    """W0 of every adaptable layer, (out, in) float32, read-only."""

    def __init__(self, weights: Mapping[str, Float32Array]) -> None:
        self._weights = {name: _frozen(array) for name, array in weights.items()}

    @classmethod
    def open(cls, bundle: ModelBundle) -> BaseWeights:
        """Return the base weights of every adaptable layer of `bundle`, in memory.

        Raises:
            BundleError: A parameter is missing, damaged or of another shape.
        """
        weights: dict[str, Float32Array] = {}
        where = bundle.weights.name
        try:
            with safe_open(bundle.weights, framework="np") as file:
                keys = set(file.keys())
                for layer in bundle.manifest.layers:
                    if layer.parameter not in keys:
                        raise BundleError(f"{where} lacks {layer.parameter!r}: rebuild the bundle")
                    shape = tuple(file.get_slice(layer.parameter).get_shape())
                    if shape != tuple(layer.shape):
                        raise BundleError(
                            f"{where}: expected {layer.parameter!r} of shape {layer.shape!r}, "
                            f"got {shape!r}: rebuild the bundle"
                        )
                    weights[layer.name] = file.get_tensor(layer.parameter)
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            raise BundleError(f"{where}: damaged ({error}): restore the bundle") from error
        return cls(weights)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the adaptable layers."""
        return tuple(self._weights)

    def get(self, layer: str) -> Float32Array:
        """Return W0 of `layer`, (out, in) float32, read-only.

        Raises:
            BundleError: No such layer.
        """
        if layer not in self._weights:
            raise BundleError(
                f"expected one of the {len(self._weights)} adaptable layers, got {layer!r}"
            )
        return self._weights[layer]


def _frozen(array: Float32Array) -> Float32Array:
    kept: Float32Array = np.ascontiguousarray(array, dtype=np.float32)[...]
    kept.setflags(write=False)
    return kept
