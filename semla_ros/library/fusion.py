"""Fuse (LoRA with LoRA) and merge (LoRA into base weights): exact sums, float32.

delta = sum_i w_i * s_i * B_i @ A_i. The factors of a mix are stacked, so that each layer costs one
matrix product whatever the number of adapters: [B_1 ... B_K] @ [w_1 s_1 A_1; ...; w_K s_K A_K].
Source: PEFT `add_weighted_adapter(combination_type="cat")`, the combination SemLA uses.

W = W0 + delta goes straight into the buffer of whoever serves it, in tiles that stay in the
processor's cache: W0 is read once, W is written once, nothing of full size is made in between.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet

import cv2
import numpy as np

from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.core.errors import AdapterError, AdapterMismatchError, LibraryError
from semla_ros.core.types import BASE, AdapterMix, Float32Array, LoraAdapter, LoraLayer
from semla_ros.core.weights import LayerFactors

MAX_CHANGE = 1e38
"""A change that could exceed this is refused: added to W0 (up to 1e37) it might overflow."""

_TILE = 122_880
"""Values of W computed at a time: half a megabyte, which second-level caches hold.

Whole rows of the usual widths, and 8 * _TILE < 1e6: up to there OpenBLAS has kernels without
packing for AVX-512, the faster ones for one adapter of rank 8.
"""

_Parts = dict[str, list[tuple[float, LoraLayer]]]


class MergedWeights:
    """W0 + delta of every layer that a mix touches, computed where it is written to.

    Always from W0 and in an order that only the names decide, so the same mix gives the same bits
    however the robot came to it and whichever engine asks.
    """

    def __init__(
        self,
        base: BaseWeights,
        adapters: Sequence[LoraAdapter],
        mix: AdapterMix,
        *,
        layers: Collection[str] | None = None,
        proceed: Callable[[], None] | None = None,
    ) -> None:
        """Take the members of `mix`; nothing is computed yet.

        Args:
            base: The kept base weights.
            adapters: At least the members of `mix`, in any order; `BASE` needs none.
            mix: The proportions.
            layers: Only these; None: every layer that an adapter touches.
            proceed: Called before each layer is computed; what it raises ends the work.

        Raises:
            LibraryError: A member of `mix` is not among `adapters`.
            AdapterMismatchError: A delta does not fit the base weight.
        """
        members = _members(adapters, mix.names)
        parts = _parts(members, [mix.weight(member.name) for member in members])
        self._parts = {n: p for n, p in parts.items() if layers is None or n in layers}
        self._base = base
        self._mix = mix
        self._proceed = proceed
        for name, weighted in self._parts.items():
            shape = _shape(name, weighted)
            if base.get(name).shape != shape:
                raise AdapterMismatchError(
                    f"layer {name!r}: expected a delta of shape {base.get(name).shape}, "
                    f"got {shape}"
                )

    @property
    def names(self) -> AbstractSet[str]:
        """Names of the layers that the mix changes."""
        return self._parts.keys()

    def shape(self, layer: str) -> tuple[int, int]:
        """Return (out, in) of `layer`."""
        return _shape(layer, self._parts[layer])

    def write(self, layer: str, *, out: Float32Array, transposed: bool) -> None:
        """Write W of `layer` into `out`, see `WeightSource.write`.

        The product is always formed as W0 lies in memory, so both layouts have the same bits.

        Raises:
            AdapterError: The result might not be finite.
        """
        factors, base = self.factors(layer), self._base.get(layer)
        turned = _turned(base)
        rows, columns, origin = (
            (factors.a, factors.b, base.T) if turned else (factors.b, factors.a, base)
        )
        if turned == transposed:
            _add_product(origin, rows, columns, out=out)
            return
        merged: Float32Array = np.empty(origin.shape, np.float32)
        _add_product(origin, rows, columns, out=merged)
        cv2.transpose(merged, dst=out)

    def factors(self, layer: str) -> LayerFactors:
        """Return the stacked factors of `layer`, weights and scalings in `a`.

        Raises:
            AdapterError: The result might not be finite: by Cauchy and Schwarz no value of the
                change, nor of its partial sums, exceeds |a| |b|, so that is what is bounded.
        """
        if self._proceed is not None:
            self._proceed()
        factors = _stacked(self._parts[layer])
        bound = float(_length(factors.a)) * float(_length(factors.b))
        if not bound <= MAX_CHANGE:
            raise AdapterError(
                f"layer {layer!r}: expected a finite change, got one of up to {bound:g} from "
                f"{self._mix.identity!r}: an adapter is damaged or its alpha is wrong"
            )
        return factors


def fused(
    adapters: Sequence[LoraAdapter], weights: Mapping[str, float], *, name: str
) -> LoraAdapter:
    """Return sum_i w_i delta_i as one adapter: the stacked factors of each layer, scaling 1.

    Exact, at the sum of the members' ranks; see `training.compress` for fewer.

    Args:
        adapters: At least those of `weights`, of one base model, in any order.
        weights: Adapter -> weight, of any sign and sum; at least one.
        name: Of the new adapter.

    Raises:
        LibraryError: A member is not among `adapters`.
        AdapterMismatchError: A layer has another shape from member to member.
    """
    members = _members(adapters, weights)
    layers = {}
    for layer, weighted in _parts(members, [weights[m.name] for m in members]).items():
        _shape(layer, weighted)
        factors = _stacked(weighted)
        layers[layer] = LoraLayer(factors.a, np.ascontiguousarray(factors.b.T), 1.0)
    return LoraAdapter(name, layers, members[0].base_model)


def _members(adapters: Sequence[LoraAdapter], names: Collection[str]) -> list[LoraAdapter]:
    """Return the adapters called `names`, sorted; `BASE` is none."""
    by_name = {adapter.name: adapter for adapter in adapters}
    members = sorted(name for name in names if name != BASE)
    missing = [name for name in members if name not in by_name]
    if missing:
        raise LibraryError(f"expected the adapters {members!r}, missing {missing!r}: load them")
    return [by_name[name] for name in members]


def _parts(adapters: Sequence[LoraAdapter], weights: Sequence[float]) -> _Parts:
    """Return layer -> who changes it and how much; zero weights take no part."""
    parts: _Parts = {}
    for adapter, weight in zip(adapters, weights, strict=True):
        if weight == 0:
            continue
        for name, layer in adapter.layers.items():
            parts.setdefault(name, []).append((weight, layer))
    return parts


def _shape(name: str, weighted: Sequence[tuple[float, LoraLayer]]) -> tuple[int, int]:
    shapes = {(layer.lora_b.shape[0], layer.lora_a.shape[1]) for _, layer in weighted}
    if len(shapes) != 1:
        raise AdapterMismatchError(
            f"layer {name!r}: expected one (out, in) for all adapters, got {sorted(shapes)!r}"
        )
    return shapes.pop()


def _stacked(weighted: Sequence[tuple[float, LoraLayer]]) -> LayerFactors:
    """Return the factors one below the other, those of `a` times weight and scaling."""
    layers = [layer for _, layer in weighted]
    scale = np.array([weight * layer.scaling for weight, layer in weighted], np.float32)
    a: Float32Array = np.concatenate([layer.lora_a for layer in layers])
    b: Float32Array = np.concatenate([layer.lora_b.T for layer in layers])
    with np.errstate(over="ignore", invalid="ignore"):
        a *= np.repeat(scale, [len(layer.lora_a) for layer in layers])[:, np.newaxis]
    return LayerFactors(a, b)


def _length(array: Float32Array) -> np.float32:
    """Return the Euclidean length of all values; infinite or NaN where one of them is."""
    flat = array.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        length: np.float32 = np.sqrt(np.dot(flat, flat))
    return length


def _turned(base: Float32Array) -> bool:
    return base.flags.f_contiguous and not base.flags.c_contiguous


def _add_product(
    base: Float32Array, rows: Float32Array, columns: Float32Array, *, out: Float32Array
) -> None:
    """Write base + rows.T @ columns into `out`: base (M, N), rows (R, M), columns (R, N)."""
    left = rows.T
    step = max(1, _TILE // base.shape[1])
    for start in range(0, len(base), step):
        tile = out[start : start + step]
        np.matmul(left[start : start + step], columns, out=tile)
        tile += base[start : start + step]
