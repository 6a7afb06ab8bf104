"""What making an adapter from others costs: time and memory, by the shapes of networks."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Sequence

from semla_ros.bench.fusion import CASES, MEMBERS, RANK, SCALING
from semla_ros.bench.made_bundle import random_adapter
from semla_ros.bench.record import Row
from semla_ros.prepare.generation.combine import combine

LIBRARY = 8
_NAMES = ("demo_bundle", "semla_vit_b", "semla_vit_l")


def cost_rows(names: Sequence[str] = _NAMES) -> list[Row]:
    """Return seconds and peak MiB of `combine`, of `MEMBERS` among `LIBRARY` random adapters.

    Args:
        names: Of `CASES`.
    """
    return [_row(name) for name in names]


def _row(name: str) -> Row:
    layers = CASES[name]()
    library = [
        random_adapter(f"expert-{i}", layers, rank=RANK, scaling=SCALING, seed=i)
        for i in range(LIBRARY)
    ]
    weights = {each.name: 1 / MEMBERS for each in library[:MEMBERS]}
    start = time.perf_counter()
    combine(library, weights, name="generated")
    seconds = time.perf_counter() - start
    tracemalloc.start()
    try:
        combine(library, weights, name="generated")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return {
        "shapes": name,
        "layers": len(layers),
        "values of an adapter": sum(RANK * sum(layer.shape) for layer in layers),
        "seconds": round(seconds, 2),
        "peak MiB": round(peak / 2**20, 1),
    }
