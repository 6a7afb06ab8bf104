"""Smaller adapters: the best approximation of each layer's change at a lower rank."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from semla_ros.core.errors import TrainingError
from semla_ros.core.types import LoraAdapter, LoraLayer


@dataclass(frozen=True, slots=True)
class Compressed:
    """An adapter of lower rank.

    Attributes:
        adapter: It.
        error: Frobenius norm of what is lost over that of the change, all layers together.
        worst: The same of the layer that lost most.
        worst_layer: Its name.
    """

    adapter: LoraAdapter
    error: float
    worst: float
    worst_layer: str


def compressed(adapter: LoraAdapter, rank: int) -> Compressed:
    """Return `adapter` at `rank` at most, each layer's change truncated by SVD, scaling 1.

    Source: Eckart and Young, 1936: no other change of that rank is nearer.

    Raises:
        TrainingError: A rank below 1.
    """
    if rank < 1:
        raise TrainingError(f"expected --compress of at least 1, got {rank!r}")
    layers: dict[str, LoraLayer] = {}
    lost, whole, shares = 0.0, 0.0, {"": 0.0}
    for name, layer in adapter.layers.items():
        layers[name], own, total = _truncated(layer, rank)
        lost, whole = lost + own, whole + total
        shares[name] = float(np.sqrt(own / total)) if total else 0.0
    worst = max(shares, key=lambda name: shares[name])
    error = float(np.sqrt(lost / whole)) if whole else 0.0
    return Compressed(replace(adapter, layers=layers), error, shares[worst], worst)


def _truncated(layer: LoraLayer, rank: int) -> tuple[LoraLayer, float, float]:
    """Return the layer, and the squared norms of what is lost and of everything.

    The SVD is that of the small core between orthonormal bases of both factors, in float64.
    """
    left, upper = np.linalg.qr(layer.lora_b.astype(np.float64))
    right, lower = np.linalg.qr(layer.lora_a.astype(np.float64).T)
    u, values, vt = np.linalg.svd(layer.scaling * (upper @ lower.T))
    root = np.sqrt(values[:rank])
    b = left @ (u[:, :rank] * root)
    a = (root[:, None] * vt[:rank]) @ right.T
    small = LoraLayer(a.astype(np.float32), b.astype(np.float32), 1.0)
    return small, float((values[rank:] ** 2).sum()), float((values**2).sum())
