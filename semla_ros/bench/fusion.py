"""`semla bench fusion`: what fusing, loading and retrieving cost, beside the floor and PEFT.

The ways of one case take turns in one process, mix by mix, on one thread and then on all cores;
no round is left out.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from semla_ros.bench.candidate_peft import PeftMerge
from semla_ros.bench.library_scale import library_costs, retrieval_costs
from semla_ros.bench.made_bundle import random_adapter
from semla_ros.bench.record import BenchRecord, Row
from semla_ros.bench.turns import in_turns
from semla_ros.bundle import GraphWeight, open_bundle
from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.core.errors import ConfigError
from semla_ros.core.executors import use_one_blas_thread
from semla_ros.core.types import AdapterMix, Float32Array, Float64Array, LoraAdapter
from semla_ros.engine.slot_buffers import SlotBuffers
from semla_ros.library.fusion import MergedWeights
from semla_ros.network.config import VIT_L, CatSegConfig
from semla_ros.network.layers import adaptable_layers

RANK, MEMBERS, SCALING = 8, 5, 2.0
"""SemLA's published adapters: rank 8, alpha 16, five of them in a mix."""

_WIDTH, _BLOCKS = 768, 12

Case = tuple[GraphWeight, ...]
Way = Callable[[AdapterMix], object]


def vit_b_linears() -> Case:
    """Return every linear layer of a ViT-B/16's blocks: 72 layers, 84.9 M values."""
    kinds = {"q": 1, "k": 1, "v": 1, "out": 1, "c_fc": 4, "c_proj": 4}
    shapes = {
        f"b{block}.{kind}": (_WIDTH, width * _WIDTH) if kind == "c_proj" else (width * _WIDTH,)
        for block in range(_BLOCKS)
        for kind, width in kinds.items()
    }
    full = {n: s if len(s) == 2 else (s[0], _WIDTH) for n, s in shapes.items()}
    return tuple(_layer(name, shape) for name, shape in full.items())


def semla(config: CatSegConfig, *, inert: bool = False) -> Case:
    """Return what SemLA's adapters of CAT-Seg change: out, c_fc, c_proj and the aggregator.

    Args:
        config: CAT-Seg B or L.
        inert: Return the rest of their files instead: q, k and v of CLIP, whose B is all zero.
    """
    layers = adaptable_layers(config)
    return tuple(_layer(x.name, x.shape) for x in layers if x.inert_in_official == inert)


def demo_bundle() -> Case:
    """Return the layers of the demo bundle, text tower included.

    Raises:
        BundleError: There is no demo bundle.
    """
    from semla_ros.pipeline import default_bundle

    return tuple(open_bundle(default_bundle(), verify=False).manifest.layers)


INERT: Mapping[str, Callable[[], Case]] = {
    "semla_vit_b": partial(semla, CatSegConfig(), inert=True),
    "semla_vit_l": partial(semla, VIT_L, inert=True),
}
"""Layers with an all-zero B: reading an adapter leaves them out, PEFT goes through them."""

CASES: Mapping[str, Callable[[], Case]] = {
    "vit_b_72_linears": vit_b_linears,
    "semla_vit_b": partial(semla, CatSegConfig()),
    "semla_vit_l": partial(semla, VIT_L),
    "demo_bundle": demo_bundle,
}


def run_fusion(
    cases: Sequence[str], *, repeats: int, threads: Sequence[int], domains: int, command: str
) -> BenchRecord:
    """Return the record, durations in milliseconds.

    Args:
        cases: Names of `CASES`; none: all.
        repeats: Of every measurement.
        threads: How many, one measurement after the other; none: one, and as many as cores.
        domains: Size of the library that is opened; 0 leaves library and retrieval out.
        command: Measures it again.

    Raises:
        ConfigError: Another name.
    """
    if unknown := [name for name in cases if name not in CASES]:
        raise ConfigError(f"expected cases of {tuple(CASES)!r}, got {unknown!r}")
    use_one_blas_thread()
    threads = threads or sorted({1, os.cpu_count() or 1})
    rows: list[Row] = []
    for name in cases or CASES:
        inert = INERT[name]() if name in INERT else ()
        for row in fusion_costs(CASES[name](), repeats, threads=threads, peft=True, inert=inert):
            rows.append({"case": name, **row})
    tables = {"fusion": rows}
    if domains:
        tables["retrieval"] = retrieval_costs(repeats=repeats)
        with tempfile.TemporaryDirectory() as folder:
            tables["library"] = library_costs(Path(folder), vit_b_linears(), domains=domains)
    return BenchRecord(
        "Fusion",
        command,
        ({"rank": RANK, "members": MEMBERS},),
        notes=("Doubled rank: adapters that started inside W0, as RecycleLoRA exports them.",),
        extra={"tables": [{"title": title, "rows": found} for title, found in tables.items()]},
    )


def fusion_costs(
    layers: Case, repeats: int, *, threads: Sequence[int] = (1,), peft: bool, inert: Case = ()
) -> list[Row]:
    """Return the cost of one merge of `MEMBERS` adapters into the buffers of a slot, p50.

    Args:
        layers: What the adapters change.
        repeats: Of each measurement; the mix is another one each time.
        threads: A row for each.
        peft: Whether PEFT is measured, too.
        inert: What their files hold beside it; PEFT alone works on it.
    """
    weights, adapters = _weights(layers), random_adapters(layers)
    base = BaseWeights(weights, transposed={x.name for x in layers if x.transposed})
    mixes = [_mix(seed) for seed in range(repeats + 1)]
    merging = None
    if peft:
        whole = [_with_zeros(adapter, inert) for adapter in adapters]
        merging = PeftMerge(weights | _weights(inert), whole)
    values = sum(weight.size for weight in weights.values())
    rows: list[Row] = []
    for count in threads:
        ways = _ways(layers, base, adapters, threads=count)
        if merging is not None:
            ways["peft"] = merging.merge
        taken = {way: spent[:, 0] for way, spent in in_turns(ways, mixes).items()}
        row = {"threads": count, "million_values": values / 1e6, **_figures(taken)}
        if merging is not None:
            merged = MergedWeights(base, adapters, mixes[-1])
            row["difference_to_peft"] = merging.difference(merged)
        rows.append(row)
    return rows


def _figures(taken: Mapping[str, Float64Array]) -> dict[str, float]:
    """Return p50 and least of each way, and how many times ours fits into PEFT's."""
    figures: dict[str, float] = {}
    for way, spent in taken.items():
        figures[f"{way}_ms"], figures[f"{way}_least_ms"] = (
            float(np.median(spent)),
            float(spent.min()),
        )
    figures["ours_over_memcpy"] = figures["ours_ms"] / figures["memcpy_ms"]
    figures["doubled_rank_over_ours"] = figures["doubled_rank_ms"] / figures["ours_ms"]
    if "peft" in taken:
        figures["peft_over_ours"] = figures["peft_ms"] / figures["ours_ms"]
        figures["peft_over_ours_least"] = float((taken["peft"] / taken["ours"]).min())
    return figures


def _ways(
    layers: Case, base: BaseWeights, adapters: Sequence[LoraAdapter], *, threads: int
) -> dict[str, Way]:
    """Return the ways to a merged mix that need no PEFT, and the copy of the weights alone."""
    by_name = {layer.name: layer for layer in layers}
    slot = SlotBuffers(by_name, base, threads=threads)
    names = list(slot.arrays)
    doubled = random_adapters(layers, rank=2 * RANK)

    def copy(share: int) -> None:
        for name in names[share :: slot.threads]:
            np.copyto(slot.arrays[name], base.as_stored(name))

    def memcpy(_: AdapterMix) -> None:
        with ThreadPoolExecutor(slot.threads) as pool:
            list(pool.map(copy, range(slot.threads)))

    ways: dict[str, Way] = {
        "memcpy": memcpy if slot.threads > 1 else lambda _: copy(0),
        "ours": lambda mix: slot.fill(MergedWeights(base, adapters, mix)),
        "doubled_rank": lambda mix: slot.fill(MergedWeights(base, doubled, mix)),
    }
    return ways | _torch_ways(by_name, base, adapters, threads=threads)


def _torch_ways(
    layers: Mapping[str, GraphWeight],
    base: BaseWeights,
    adapters: Sequence[LoraAdapter],
    *,
    threads: int,
) -> dict[str, Way]:
    """Return torch's stacked merge on the CPU, and on a GPU where there is one."""
    try:
        import torch
    except ImportError:
        return {}
    from semla_ros.engine.torch_fusion import TorchBank

    ways: dict[str, Way] = {}
    torch.set_num_threads(threads)
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        bank = TorchBank(layers, base, device=device)

        def fill(mix: AdapterMix, bank: Any = bank, slot: Any = bank.slot()) -> None:  # noqa: ANN401, B008
            bank.fill(MergedWeights(base, adapters, mix), slot)
            if torch.cuda.is_available():
                torch.cuda.synchronize()

        ways[f"torch_{device}"] = fill
    return ways


def random_adapters(
    layers: Case, *, members: int = MEMBERS, rank: int = RANK
) -> list[LoraAdapter]:
    """Return `members` adapters for `layers`, B lying as files are read."""
    names = [f"domain{seed}" for seed in range(members)]
    return [
        random_adapter(n, layers, rank=rank, scaling=SCALING, seed=i) for i, n in enumerate(names)
    ]


def _with_zeros(adapter: LoraAdapter, inert: Case) -> LoraAdapter:
    """Return `adapter` with an A and an all-zero B for the layers `inert`."""
    (filled,) = random_adapters(inert, members=1)
    zeros = {
        name: replace(layer, lora_b=np.zeros_like(layer.lora_b))
        for name, layer in filled.layers.items()
    }
    return replace(adapter, layers={**adapter.layers, **zeros})


def _layer(name: str, shape: tuple[int, int]) -> GraphWeight:
    return GraphWeight(name, f"{name}.weight", "segmentation", name, True, shape)


def _weights(layers: Case) -> dict[str, Float32Array]:
    rng = np.random.default_rng(1)
    return {x.name: rng.standard_normal(x.shape, np.float32) * np.float32(0.02) for x in layers}


def _mix(seed: int) -> AdapterMix:
    shares = np.random.default_rng(seed).dirichlet(np.ones(MEMBERS))
    return AdapterMix.from_weights({f"domain{i}": float(s) for i, s in enumerate(shares)})
