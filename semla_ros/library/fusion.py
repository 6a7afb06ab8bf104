"""Fuse (LoRA with LoRA) and merge (LoRA into base weights): exact sums, float32.

delta = sum_i w_i * s_i * B_i @ A_i. The factors are stacked, so that each layer costs one matrix
product whatever the number of adapters: [B_1 ... B_K] @ [w_1 s_1 A_1; ...; w_K s_K A_K].
Source: PEFT `add_weighted_adapter(combination_type="cat")`, the combination SemLA uses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from semla_ros.errors import AdapterMismatchError, LibraryError
from semla_ros.types import BASE, AdapterMix, Float32Array, LoraAdapter, LoraLayer


class WeightSource(Protocol):
    """Where W0 comes from; `BaseWeights` is one."""

    def get(self, layer: str, /) -> Float32Array:
        """Return W0 of `layer`, (out, in) float32."""
        ...


def fuse(adapters: Sequence[LoraAdapter], weights: Sequence[float]) -> dict[str, Float32Array]:
    """Return layer -> delta (out, in) float32 of every layer that an adapter touches.

    Args:
        adapters: Any ranks; a layer that one adapter lacks takes no part for it.
        weights: One finite factor each; zeros take no part.

    Raises:
        LibraryError: Not one finite weight per adapter.
        AdapterMismatchError: Two adapters give one layer different shapes.
    """
    if len(adapters) != len(weights) or not all(math.isfinite(w) for w in weights):
        raise LibraryError(
            f"expected one finite weight for each of {len(adapters)} adapters, got {weights!r}"
        )
    parts: dict[str, list[tuple[float, LoraLayer]]] = {}
    for adapter, weight in zip(adapters, weights, strict=True):
        if weight == 0:
            continue
        for name, layer in adapter.layers.items():
            parts.setdefault(name, []).append((weight, layer))
    return {name: _delta(name, weighted) for name, weighted in parts.items()}


def merge(
    base: WeightSource, adapters: Sequence[LoraAdapter], mix: AdapterMix
) -> dict[str, Float32Array]:
    """Return layer -> W0 + delta (out, in) float32 of every touched layer.

    Always from W0 and in the mix's own order, so the same mix gives the same bits however the
    robot came to it. `BASE` has no delta; layers left out of the result are W0 itself.

    Args:
        base: The kept base weights.
        adapters: At least the members of `mix`, in any order.
        mix: The proportions.

    Raises:
        LibraryError: A member of `mix` is not among `adapters`.
        AdapterMismatchError: A delta does not fit the base weight.
    """
    by_name = {adapter.name: adapter for adapter in adapters}
    members = [name for name in mix.names if name != BASE]
    missing = [name for name in members if name not in by_name]
    if missing:
        raise LibraryError(f"expected the adapters {members!r}, missing {missing!r}: load them")
    fused = fuse([by_name[n] for n in members], [mix.weight(n) for n in members])
    return {name: _added(name, base.get(name), delta) for name, delta in fused.items()}


def _delta(name: str, weighted: Sequence[tuple[float, LoraLayer]]) -> Float32Array:
    shapes = {(layer.lora_b.shape[0], layer.lora_a.shape[1]) for _, layer in weighted}
    if len(shapes) != 1:
        raise AdapterMismatchError(
            f"layer {name!r}: expected one (out, in) for all adapters, got {sorted(shapes)!r}"
        )
    scaled = [layer.lora_a * np.float32(w * layer.scaling) for w, layer in weighted]
    stacked_b = np.concatenate([layer.lora_b for _, layer in weighted], axis=1)
    delta: Float32Array = stacked_b @ np.concatenate(scaled, axis=0)
    return delta


def _added(name: str, base: Float32Array, delta: Float32Array) -> Float32Array:
    if base.shape != delta.shape:
        raise AdapterMismatchError(
            f"layer {name!r}: expected a delta of shape {base.shape}, got {delta.shape}"
        )
    delta += base
    return delta
