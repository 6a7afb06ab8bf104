"""Adapters as vectors of their factors: names, shapes, and where training began.

Factors are not unique: B A = (B G)(G^-1 A) for any invertible G. Training from one start leaves
adapters that may be compared number by number; from different starts mean(B) mean(A) is not
mean(B A), and no average of factors means anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from semla_ros.core.errors import AdapterMismatchError
from semla_ros.core.types import Float32Array, LoraAdapter, LoraLayer


@dataclass(frozen=True, slots=True)
class FactorLayout:
    """What the numbers of a vector are: A, then B of each layer, layers in order of their names.

    Attributes:
        shapes: Layer -> (out, in, rank), names ascending.
        scalings: Layer -> scaling of its change.
        gauge: Names the start that the factors share.
        base_model: Identity of the base, None where unknown.
    """

    shapes: Mapping[str, tuple[int, int, int]]
    scalings: Mapping[str, float]
    gauge: str
    base_model: str | None = None

    @property
    def size(self) -> int:
        """How many numbers a vector has."""
        return sum(rank * (out + into) for out, into, rank in self.shapes.values())


def layout_of(adapter: LoraAdapter, *, gauge: str = "") -> FactorLayout:
    """Return the layout of `adapter`.

    Args:
        adapter: At least one layer.
        gauge: Names its start; empty: read from its factors, see `gauge_of`.
    """
    names = sorted(adapter.layers)
    shapes = {name: _shape(adapter.layers[name]) for name in names}
    scalings = {name: adapter.layers[name].scaling for name in names}
    return FactorLayout(shapes, scalings, gauge or gauge_of(adapter), adapter.base_model)


def gauge_of(adapter: LoraAdapter) -> str:
    """Return what names the start of an adapter, where its factors tell.

    An adapter that started inside W0 carries the start as the second half of its factors,
    [A; A0] and [B, -B0] (`training.low_rank.adapter_of`), which adapters of one start share to
    the bit. One that started outside has trained numbers there, and is like no other.
    """
    digest = hashlib.sha256()
    for name in sorted(adapter.layers):
        layer = adapter.layers[name]
        half = len(layer.lora_a) // 2
        digest.update(name.encode())
        for part in (layer.lora_a[half:], layer.lora_b[:, half:]):
            digest.update(np.ascontiguousarray(part, "<f4").tobytes())
    return digest.hexdigest()[:16]


def flatten(adapter: LoraAdapter, layout: FactorLayout) -> Float32Array:
    """Return the factors of `adapter` as a vector (P,) float32.

    Raises:
        AdapterMismatchError: Other layers, shapes or scalings than the layout's.
    """
    got = {name: (_shape(layer), layer.scaling) for name, layer in adapter.layers.items()}
    expected = {name: (layout.shapes[name], layout.scalings[name]) for name in layout.shapes}
    if got != expected:
        odd = sorted(n for n in got.keys() | expected.keys() if got.get(n) != expected.get(n))
        raise AdapterMismatchError(
            f"adapter {adapter.name!r}: expected {odd[0]!r} as {expected.get(odd[0])!r} "
            f"((out, in, rank), scaling), got {got.get(odd[0])!r}: train all with one recipe"
        )
    parts = [
        p for n in layout.shapes for p in (adapter.layers[n].lora_a, adapter.layers[n].lora_b)
    ]
    return np.concatenate([part.ravel() for part in parts]).astype(np.float32)


def unflatten(vector: Float32Array, layout: FactorLayout, *, name: str) -> LoraAdapter:
    """Return the adapter whose factors are `vector` (P,).

    Raises:
        AdapterMismatchError: A vector of another length.
    """
    if vector.shape != (layout.size,):
        raise AdapterMismatchError(f"expected {layout.size} numbers, got {vector.shape}")
    layers: dict[str, LoraLayer] = {}
    place = 0
    for layer, (out, into, rank) in layout.shapes.items():
        a = vector[place : place + rank * into].reshape(rank, into)
        b = vector[place + rank * into : place + rank * (into + out)].reshape(out, rank)
        layers[layer] = LoraLayer(a.copy(), b.copy(), layout.scalings[layer])
        place += rank * (into + out)
    return LoraAdapter(name, layers, layout.base_model)


def factors_of(
    adapters: Sequence[LoraAdapter], *, gauge: str = ""
) -> tuple[Float32Array, FactorLayout]:
    """Return the vectors (N, P) of adapters whose factors may be compared, and their layout.

    Args:
        adapters: At least one.
        gauge: Names their common start where the factors do not show it, see `gauge_of`.

    Raises:
        AdapterMismatchError: Different starts, layers, ranks or scalings.
    """
    layouts = [layout_of(adapter, gauge=gauge) for adapter in adapters]
    starts = sorted({layout.gauge for layout in layouts})
    if len(starts) > 1:
        raise AdapterMismatchError(
            f"expected adapters of one start (A0, B0), got {len(starts)} of {len(adapters)}: "
            "factors of different starts cannot be averaged; sum changes, or train with init rrqr"
        )
    return np.stack([flatten(adapter, layouts[0]) for adapter in adapters]), layouts[0]


def _shape(layer: LoraLayer) -> tuple[int, int, int]:
    rank, into = layer.lora_a.shape
    return layer.lora_b.shape[0], into, rank
