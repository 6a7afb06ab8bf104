"""Thousands of adapters: opening a library, reading one of them, finding the nearest."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np

from semla_ros.bench.made_bundle import random_adapter
from semla_ros.bench.record import Row
from semla_ros.bench.turns import timed
from semla_ros.bundle import GraphWeight
from semla_ros.core.timing import now_ms, processor_ms
from semla_ros.core.types import Float32Array, UInt8Array
from semla_ros.library.library import AdapterLibrary
from semla_ros.library.memory import bytes_of
from semla_ros.library.retrieval import RetrievalSettings, retrieve
from semla_ros.library.seal import CONFIG_FILE, TENSOR_FILE
from semla_ros.library.statistics import DomainStatistics
from semla_ros.library.storage import read_adapter
from semla_ros.navigator.distance import DISTANCES, CentroidBank, novelties
from semla_ros.navigator.navigator import Navigator
from semla_ros.prepare.adapters.write import write_adapter, write_statistics

DIM = 768
CENTROIDS = 10_000
_RANK = 8
_MEMORY = 512 * 2**20


def library_costs(root: Path, layers: Sequence[GraphWeight], *, domains: int) -> list[Row]:
    """Return what opening a library of `domains` adapters costs, and reading one from it.

    The adapters' tensor files are links to one, so all of it is in the page cache.

    Args:
        root: An empty folder.
        layers: What each adapter changes, rank 8.
        domains: How many adapters.
    """
    rng = np.random.default_rng(0)
    first = random_adapter("domain0000", layers, rank=_RANK, scaling=2.0, seed=0)
    first = replace(first, base_model="bench")
    write_adapter(root / "domain0000", first, alpha=2.0 * _RANK)
    for number in range(domains):
        name = f"domain{number:04d}"
        folder = root / name
        folder.mkdir(exist_ok=True)
        for file in (CONFIG_FILE, TENSOR_FILE) if number else ():
            os.link(root / "domain0000" / file, folder / file)
        centroid = rng.standard_normal(DIM).astype(np.float32)
        write_statistics(folder, name, DomainStatistics(centroid, count=500, encoder="bench"))
    started, cpu_ms = now_ms(), processor_ms()
    library = AdapterLibrary.open(
        root,
        layers=layers,
        base_model="bench",
        encoder="bench",
        dim=DIM,
        memory_bytes=_MEMORY,
    )
    opened_ms, opened_cpu_ms = now_ms() - started, processor_ms() - cpu_ms
    figures = {
        "domains": len(library.names),
        "open_ms": opened_ms,
        "open_cpu_ms": opened_cpu_ms,
        "memory_limit_mib": _MEMORY / 2**20,
        "memory_used_mib": library.memory_bytes / 2**20,
        "adapter_mib": bytes_of(first) / 2**20,
        **spread("read_warm", lambda: read_adapter(root / "domain0000", name="domain0000"), 9),
    }
    return [{"figure": name, "value": value} for name, value in figures.items()]


def retrieval_costs(*, repeats: int) -> list[Row]:
    """Return the milliseconds from an embedding to a mix among 10,000 domains."""
    rng = np.random.default_rng(0)
    axes = rng.standard_normal((DIM, DIM)) * 0.1 + np.eye(DIM)
    names = tuple(f"domain{i:05d}" for i in range(CENTROIDS))
    centroids = 0.3 * rng.standard_normal((CENTROIDS, DIM))
    bank = CentroidBank(names, centroids, whitening=axes)
    between = (centroids[:3].mean(axis=0) + 0.03 * rng.standard_normal(DIM)).astype(np.float32)
    settings = RetrievalSettings()
    navigator = Navigator(_Ready(), bank, distance="euclidean", time_constant_s=1.0, max_gap_s=1.0)
    stamps = count(step=200_000_000)

    def to_mix(distance: str) -> None:
        retrieve(bank.names, DISTANCES[distance](between, bank), settings=settings)

    def observation() -> None:
        estimate = navigator.update(next(stamps), between)
        mix = retrieve(estimate.names, estimate.distances, settings=settings)
        navigator.read(estimate, mix, low=0.1, out_of_library=9.0)

    ways: dict[str, Callable[[], object]] = {
        "euclidean_to_mix": lambda: to_mix("euclidean"),
        "cosine_to_mix": lambda: to_mix("cosine"),
        "novelty": lambda: novelties(between, bank),
        "observation": observation,  # all that follows an embedding
    }
    figures: dict[str, float] = {"centroids": CENTROIDS, "dim": DIM}
    for name, way in ways.items():
        figures |= spread(name, way, 20 * repeats)
    return [{"figure": name, "value": value} for name, value in figures.items()]


class _Ready:
    """An encoder for embeddings that are already there."""

    identity = "bench"
    dim = DIM

    def encode(self, rgb: UInt8Array) -> Float32Array:
        """Return nothing of use."""
        return np.zeros(DIM, np.float32)


def spread(name: str, call: Callable[[], object], repeats: int) -> dict[str, float]:
    """Return least and median of the milliseconds that `call` takes, and the least of the CPU."""
    wall, cpu = timed(call, repeats, warm_up=0).T
    return {
        f"{name} min": float(wall.min()),
        f"{name} median": float(np.median(wall)),
        f"{name} cpu_min": float(cpu.min()),
    }
