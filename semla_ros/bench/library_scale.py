"""Thousands of adapters: opening a library, reading one of them, finding the nearest."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from itertools import count
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
from semla_ros.navigator.distance import DISTANCES, CentroidBank, novelties
from semla_ros.navigator.navigator import Navigator
from semla_ros.timing import now_ms
from semla_ros.types import Float32Array, LoraAdapter, LoraLayer, UInt8Array

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
    started, cpu_s = now_ms(), time.process_time()
    library = AdapterLibrary.open(
        root,
        layers=layers,
        base_model="bench",
        encoder="bench",
        dim=DIM,
        memory_bytes=_MEMORY,
    )
    opened_ms, opened_cpu_ms = now_ms() - started, (time.process_time() - cpu_s) * 1e3
    return {
        "domains": len(library.names),
        "open_ms": opened_ms,
        "open_cpu_ms": opened_cpu_ms,
        "memory_limit_mib": _MEMORY / 2**20,
        "memory_used_mib": library.memory_bytes / 2**20,
        "adapter_mib": bytes_of(first) / 2**20,
        "read_warm": spread(lambda: read_adapter(root / "domain0000", name="domain0000"), 9),
    }


def retrieval_costs(*, repeats: int) -> dict[str, Any]:
    """Return the milliseconds from an embedding to a mix among 10,000 domains."""
    rng = np.random.default_rng(0)
    axes = rng.standard_normal((DIM, DIM)) * 0.1 + np.eye(DIM)
    names = tuple(f"domain{i:05d}" for i in range(CENTROIDS))
    centroids = 0.3 * rng.standard_normal((CENTROIDS, DIM))
    bank = CentroidBank(names, centroids, whitening=axes)
    between = (centroids[:3].mean(axis=0) + 0.03 * rng.standard_normal(DIM)).astype(np.float32)
    costs = _retrieval_costs(bank, between, repeats=20 * repeats)
    return {"centroids": CENTROIDS, "dim": DIM, **costs}


def _retrieval_costs(
    bank: CentroidBank, point: Float32Array, *, repeats: int
) -> dict[str, dict[str, float]]:
    """Return the costs of each step; `observation` is all that follows an embedding."""
    settings = RetrievalSettings()
    navigator = Navigator(_Ready(), bank, distance="euclidean", time_constant_s=1.0, max_gap_s=1.0)
    stamps = count(step=200_000_000)

    def to_mix(distance: str) -> None:
        retrieve(bank.names, DISTANCES[distance](point, bank), settings=settings)

    def observation() -> None:
        estimate = navigator.update(next(stamps), point)
        mix = retrieve(estimate.names, estimate.distances, settings=settings)
        navigator.read(estimate, mix, low=0.1, out_of_library=9.0)

    return {
        "euclidean_to_mix": spread(lambda: to_mix("euclidean"), repeats),
        "cosine_to_mix": spread(lambda: to_mix("cosine"), repeats),
        "novelty": spread(lambda: novelties(point, bank), repeats),
        "observation": spread(observation, repeats),
    }


class _Ready:
    """An encoder for embeddings that are already there."""

    identity = "bench"
    dim = DIM

    def encode(self, rgb: UInt8Array) -> Float32Array:
        """Return nothing of use."""
        return np.zeros(DIM, np.float32)


def spread(call: Callable[[], object], repeats: int) -> dict[str, float]:
    """Return `min` and `median` of the milliseconds that `call` takes, and `cpu_min`.

    The last one is the time of the processor, in all threads: it knows nothing of other programs.
    """
    taken, busy = [], []
    for _ in range(repeats):
        started, cpu_s = now_ms(), time.process_time()
        call()
        taken.append(now_ms() - started)
        busy.append((time.process_time() - cpu_s) * 1e3)
    return {"min": min(taken), "median": median(taken), "cpu_min": min(busy)}


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
