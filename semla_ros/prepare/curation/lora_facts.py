"""What the numbers of adapters say: size, rank, what never runs, who resembles whom."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from semla_ros.bundle import GraphWeight
from semla_ros.core.types import Float32Array, Float64Array, LoraAdapter, LoraLayer

IMAGE, TEXT, AGGREGATOR, OTHER = "image tower", "text tower", "aggregator", "other"
MIN_PEERS = 5
"""Outliers are told apart among at least so many adapters."""
_MIN_SPREAD = 0.1
_NORMAL_MAD = 0.6745
_TINY = 1e-30


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """One group of layers under one adapter.

    Attributes:
        layers: How many it changes.
        norm: Frobenius norm of the change, all layers together.
        ratio: `norm` relative to the norm of these layers' base weights.
        effective_rank: Median over layers of exp(entropy of the singular values' shares).
    """

    layers: int
    norm: float
    ratio: float
    effective_rank: float


@dataclass(frozen=True, slots=True)
class LoraFacts:
    """What an adapter's tensors hold.

    Attributes:
        tensors, parameters: In the file.
        inert_tensors, inert_parameters: Of modules whose B is all zero: they change nothing.
        inert_qkv: Inert modules that are q, k or v of an attention.
        live_modules: Modules that change something.
        groups: Live layers that the bundle adapts, by group.
        fingerprint: Changes with the random start of training: a hash of A of the inert modules,
            which training never touched; None without such modules.
    """

    tensors: int
    parameters: int
    inert_tensors: int
    inert_parameters: int
    inert_qkv: int
    live_modules: int
    groups: Mapping[str, GroupFacts]
    fingerprint: str | None


def group_of(layer: GraphWeight) -> str:
    """Return the part of the network that `layer` belongs to."""
    if layer.graph == "text":
        return TEXT
    if ".visual." in layer.name:
        return IMAGE
    return AGGREGATOR if ".predictor.transformer." in layer.name else OTHER


def lora_facts(
    adapter: LoraAdapter, layers: Mapping[str, GraphWeight], base_norms: Mapping[str, float]
) -> LoraFacts:
    """Return what the whole adapter (inert layers included) holds.

    Args:
        adapter: From `read_whole_adapter`.
        layers: The bundle's adaptable layers by name.
        base_norms: Frobenius norm of each one's base weight.
    """
    inert = {name: layer for name, layer in adapter.layers.items() if not layer.lora_b.any()}
    live = {name: layer for name, layer in adapter.layers.items() if name not in inert}
    groups: dict[str, list[str]] = {}
    for name in live:
        if name in layers:
            groups.setdefault(group_of(layers[name]), []).append(name)
    return LoraFacts(
        tensors=2 * len(adapter.layers),
        parameters=sum(map(_size, adapter.layers.values())),
        inert_tensors=2 * len(inert),
        inert_parameters=sum(map(_size, inert.values())),
        inert_qkv=sum(_is_qkv(name) for name in inert),
        live_modules=len(live),
        groups={
            group: _group_facts([live[n] for n in names], [base_norms[n] for n in names])
            for group, names in sorted(groups.items())
        },
        fingerprint=_fingerprint(inert),
    )


def singular_values(layer: LoraLayer) -> Float64Array:
    """Return the r singular values of scaling * B @ A, descending, without forming it."""
    _, right = np.linalg.qr(layer.lora_a.T.astype(np.float64))
    _, left = np.linalg.qr(layer.lora_b.astype(np.float64))
    _, values, _ = np.linalg.svd(left @ right.T)
    return np.asarray(values * abs(layer.scaling), dtype=np.float64)


def effective_rank(values: Float64Array) -> float:
    """Return exp(entropy) of the singular values' shares, 0 where all are zero.

    Source: Roy and Vetterli, 2007, "The effective rank: a measure of effective dimensionality".
    """
    total = float(values.sum())
    if total <= 0:
        return 0.0
    shares = values[values > 0] / total
    return math.exp(-float((shares * np.log(shares)).sum()))


def delta_cosines(adapters: Sequence[LoraAdapter]) -> Float64Array:
    """Return the cosine between the changes of each pair of adapters, (N, N) float64.

    A change is the long vector of scaling * B @ A of all layers; only r x r products are formed.
    Inert layers are zero, so they do not matter; an adapter that changes nothing has cosine 0.
    """
    products = np.zeros((len(adapters), len(adapters)))
    for module in sorted({name for adapter in adapters for name in adapter.layers}):
        found = [(i, a.layers[module]) for i, a in enumerate(adapters) if module in a.layers]
        places = [i for i, _ in found]
        products[np.ix_(places, places)] += _layer_products([layer for _, layer in found])
    norms = np.sqrt(np.diag(products))
    scale = np.where(norms > 0, norms, np.inf)
    cosines: Float64Array = products / scale[:, np.newaxis] / scale
    return cosines


def robust_z(values: Sequence[float]) -> Float64Array:
    """Return how far each positive value lies from the others' middle, (N,) float64.

    0.6745 (log v - median) / MAD of the logarithms; spreads below 10 % count as 10 %, and fewer
    than `MIN_PEERS` values give zeros. Beyond 3.5 is an outlier.

    Source: Iglewicz and Hoaglin, 1993, "How to detect and handle outliers".
    """
    if len(values) < MIN_PEERS:
        return np.zeros(len(values))
    logs = np.log(np.maximum(np.asarray(values, dtype=np.float64), 1e-300))
    away = logs - np.median(logs)
    scores: Float64Array = _NORMAL_MAD * away / max(float(np.median(np.abs(away))), _MIN_SPREAD)
    return scores


def _group_facts(layers: Sequence[LoraLayer], base_norms: Sequence[float]) -> GroupFacts:
    spectra = [singular_values(layer) for layer in layers]
    norm = math.sqrt(sum(float((values**2).sum()) for values in spectra))
    base = math.sqrt(sum(n * n for n in base_norms))
    return GroupFacts(
        layers=len(layers),
        norm=norm,
        ratio=norm / max(base, _TINY),
        effective_rank=float(np.median([effective_rank(values) for values in spectra])),
    )


def _layer_products(layers: Sequence[LoraLayer]) -> Float64Array:
    """Return <delta_i, delta_j> of one module's layers, (n, n)."""
    starts = np.cumsum([0, *(len(layer.lora_a) for layer in layers)][:-1])
    a = np.concatenate([layer.scaling * layer.lora_a.astype(np.float64) for layer in layers])
    b = np.concatenate([layer.lora_b.T.astype(np.float64) for layer in layers])
    both = (a @ a.T) * (b @ b.T)
    rows = np.add.reduceat(both, starts, axis=0)
    products: Float64Array = np.add.reduceat(rows, starts, axis=1)
    return products


def _fingerprint(inert: Mapping[str, LoraLayer]) -> str | None:
    if not inert:
        return None
    digest = hashlib.sha256()
    for name in sorted(inert):
        digest.update(name.encode())
        digest.update(_bytes(inert[name].lora_a))
    return digest.hexdigest()[:16]


def _bytes(array: Float32Array) -> bytes:
    return np.ascontiguousarray(array, dtype="<f4").tobytes()


def _size(layer: LoraLayer) -> int:
    return int(layer.lora_a.size + layer.lora_b.size)


def _is_qkv(name: str) -> bool:
    return ".attn." in name and name.rpartition(".")[2].removesuffix("_proj") in ("q", "k", "v")
