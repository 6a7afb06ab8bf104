"""Thousands of adapters: opening a library, reading one of them, finding the nearest."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from semla_ros.bundle import GraphWeight
from semla_ros.library.library import AdapterLibrary
from semla_ros.library.memory import bytes_of
from semla_ros.library.retrieval import RetrievalSettings, retrieve
from semla_ros.library.statistics import DomainStatistics, write_statistics
from semla_ros.library.storage import CONFIG_FILE, TENSOR_FILE, read_adapter, write_adapter
from semla_ros.navigator.distance import CentroidBank, cosine, euclidean, novelties
from semla_ros.timing import now_ms
from semla_ros.types import Float32Array, LoraAdapter, LoraLayer

DIM = 768
CENTROIDS = 10_000
_RANK = 8
_MEMORY = 512 * 2**20


def library_costs(root: Path, layers: Sequence[GraphWeight], *, domains: int) -> dict[str, Any]:
    """Return what opening a library of `domains` adapters costs, and reading one from it.

    The adapters' tensor files are links to one, so all of it is in the page cache.

    Args:
        root: An empty folder.
        layers: What each adapter changes, rank 8.
        domains: How many adapters.
    """
    rng = np.random.default_rng(0)
    first = _adapter(layers, rng)
    write_adapter(root / "domain0000", first, alpha=2.0 * _RANK)
    for number in range(domains):
        name = f"domain{number:04d}"
        folder = root / name
        folder.mkdir(exist_ok=True)
        for file in (CONFIG_FILE, TENSOR_FILE) if number else ():
            os.link(root / "domain0000" / file, folder / file)
        centroid = rng.standard_normal(DIM).astype(np.float32)
        write_statistics(folder, name, DomainStatistics(centroid, count=500, encoder="bench"))
    started = now_ms()
    library = AdapterLibrary.open(
        root,
        layers=layers,
        base_model="bench",
        encoder="bench",
        dim=DIM,
        memory_bytes=_MEMORY,
    )
    opened_ms = now_ms() - started
    reads = []
    for _ in range(9):
        started = now_ms()
        read_adapter(root / "domain0000", name="domain0000")
        reads.append(now_ms() - started)
    return {
        "domains": len(library.names),
        "open_ms": opened_ms,
        "memory_limit_mib": _MEMORY / 2**20,
        "memory_used_mib": library.memory_bytes / 2**20,
        "adapter_mib": bytes_of(first) / 2**20,
        "read_warm_ms": {"min": min(reads), "median": median(reads)},
    }


def retrieval_costs(*, repeats: int) -> dict[str, Any]:
    """Return the milliseconds from an embedding to a mix among 10,000 domains."""
    rng = np.random.default_rng(0)
    centroids = rng.standard_normal((CENTROIDS, DIM)) * 0.3
    spread = rng.standard_normal((DIM, DIM)) * 0.1 + np.eye(DIM)
    names = tuple(f"domain{i:05d}" for i in range(CENTROIDS))
    bank = CentroidBank(names, centroids, tied_precision=spread @ spread.T)
    point: Float32Array = (centroids[5] + 0.1 * rng.standard_normal(DIM)).astype(np.float32)
    settings = RetrievalSettings()
    found: dict[str, Any] = {"centroids": CENTROIDS, "dim": DIM}
    for name, measure in (("euclidean", euclidean), ("cosine", cosine)):
        taken = []
        for _ in range(20 * repeats):
            started = now_ms()
            retrieve(names, measure(point, bank), settings=settings)
            taken.append(now_ms() - started)
        found[f"{name}_to_mix"] = {"min": min(taken), "median": median(taken)}
    taken = []
    for _ in range(20 * repeats):
        started = now_ms()
        novelties(point, bank)
        taken.append(now_ms() - started)
    found["novelty"] = {"min": min(taken), "median": median(taken)}
    return found


def _adapter(layers: Sequence[GraphWeight], rng: np.random.Generator) -> LoraAdapter:
    factors = {
        layer.name: LoraLayer(
            rng.standard_normal((_RANK, layer.shape[1]), np.float32),
            rng.standard_normal((layer.shape[0], _RANK), np.float32),
            2.0,
        )
        for layer in layers
    }
    return LoraAdapter("domain0000", factors, "bench")
