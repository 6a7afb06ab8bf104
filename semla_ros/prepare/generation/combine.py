"""From experts and their weights to one adapter: changes summed, the library's rank and size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from semla_ros.core.types import LoraAdapter, LoraLayer
from semla_ros.library.fusion import fused
from semla_ros.prepare.curation.lora_facts import delta_cosines, singular_values
from semla_ros.prepare.training.compress import compressed

Span = Mapping[str, tuple[float, float]]
"""Layer -> smallest and largest Frobenius norm of its change; 0 where an adapter has none."""


@dataclass(frozen=True, slots=True)
class Combined:
    """An adapter made of others.

    Attributes:
        adapter: It.
        error: Frobenius norm of what the lower rank lost over that of the sum.
        scaled: Layers whose norm was brought back to what the library spans.
        nearest: The adapter of the library whose change it resembles most.
        distance: 1 - cosine of both changes.
    """

    adapter: LoraAdapter
    error: float
    scaled: int
    nearest: str
    distance: float


def combine(
    library: Sequence[LoraAdapter], weights: Mapping[str, float], *, name: str
) -> Combined:
    """Return the weighted sum of changes as an adapter called `name`.

    Changes are summed, not factors: adapters need not share their start, nor their rank. A layer
    gets the largest rank that the library has, and a norm within what the library has shown, for
    changes that disagree cancel.

    Args:
        library: All adapters that were trained.
        weights: Adapter -> weight.
        name: Of the new one.

    Raises:
        LibraryError: A weight of an adapter that is not there.
        AdapterMismatchError: Adapters of different networks.
    """
    rank = max(len(layer.lora_a) for each in library for layer in each.layers.values())
    small = compressed(fused(library, weights, name=name), rank)
    adapter, scaled = within(small.adapter, span_of(library))
    cosines = delta_cosines([adapter, *library])[0, 1:]
    place = int(np.argmax(cosines))
    return Combined(
        adapter, small.error, scaled, library[place].name, 1.0 - min(1.0, float(cosines[place]))
    )


def span_of(library: Sequence[LoraAdapter]) -> Span:
    """Return how large each layer's change is among all adapters."""
    norms: dict[str, list[float]] = {}
    for adapter in library:
        for layer, change in adapter.layers.items():
            norms.setdefault(layer, []).append(change_norm(change))
    return {
        layer: (min(found) if len(found) == len(library) else 0.0, max(found))
        for layer, found in norms.items()
    }


def within(adapter: LoraAdapter, span: Span) -> tuple[LoraAdapter, int]:
    """Return `adapter` with each layer's norm inside `span`, and how many layers were scaled."""
    layers: dict[str, LoraLayer] = {}
    scaled = 0
    for name, layer in adapter.layers.items():
        norm = change_norm(layer)
        wanted = float(np.clip(norm, *span[name]))
        changed = norm > 0 and wanted != norm
        factor = np.float32(wanted / norm) if changed else np.float32(1)
        layers[name] = replace(layer, lora_b=layer.lora_b * factor) if changed else layer
        scaled += changed
    return replace(adapter, layers=layers), scaled


def change_norm(layer: LoraLayer) -> float:
    """Return the Frobenius norm of scaling * B @ A."""
    return float(np.linalg.norm(singular_values(layer)))
