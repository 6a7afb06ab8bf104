"""What fusing, loading and retrieving cost, beside the floor and beside PEFT.

`OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 python -m semla_ros.bench.fusion` prints JSON.
Everything of one case runs in one process, one after the other, repeated; the fastest and the
median of the repeats are given, none is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from semla_ros.base_weights import BaseWeights
from semla_ros.bench.fusion_peft import PeftMerge
from semla_ros.bench.library_scale import library_costs, retrieval_costs, spread
from semla_ros.bench.machine import machine_facts
from semla_ros.bundle import GraphWeight, open_bundle
from semla_ros.engine.slot_buffers import SlotBuffers
from semla_ros.library.fusion import MergedWeights
from semla_ros.network.config import VIT_L
from semla_ros.network.layers import adaptable_layers
from semla_ros.types import AdapterMix, Float32Array, LoraAdapter, LoraLayer

RANK, MEMBERS, SCALING = 8, 5, 2.0
"""SemLA's published adapters: rank 8, alpha 16, five of them in a mix."""

_WIDTH, _BLOCKS = 768, 12

Case = tuple[GraphWeight, ...]


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


def semla_vit_l(*, inert: bool = False) -> Case:
    """Return what SemLA's adapters of CAT-Seg L change: out, c_fc, c_proj and the aggregator.

    Args:
        inert: Return the rest of their files instead: q, k and v of CLIP, whose B is all zero.
    """
    layers = adaptable_layers(VIT_L)
    return tuple(_layer(x.name, x.shape) for x in layers if x.inert_in_official == inert)


def demo_bundle() -> Case:
    """Return the layers of the demo bundle, text tower included.

    Raises:
        BundleError: There is no demo bundle.
    """
    from semla_ros.pipeline import default_bundle

    return tuple(open_bundle(default_bundle(), verify=False).manifest.layers)


INERT: Mapping[str, Callable[[], Case]] = {"semla_vit_l": partial(semla_vit_l, inert=True)}
"""Layers with an all-zero B: reading an adapter leaves them out, PEFT goes through them."""

CASES: Mapping[str, Callable[[], Case]] = {
    "vit_b_72_linears": vit_b_linears,
    "semla_vit_l": semla_vit_l,
    "demo_bundle": demo_bundle,
}


def run(cases: Sequence[str], *, repeats: int, peft: bool, domains: int) -> dict[str, Any]:
    """Return every figure, durations in milliseconds.

    Args:
        cases: Names of `CASES`.
        repeats: Of every measurement.
        peft: Whether PEFT is measured, too.
        domains: Size of the library that is opened; 0 leaves library and retrieval out.
    """
    found: dict[str, Any] = {
        "machine": machine_facts(),
        "threads": os.environ.get("OPENBLAS_NUM_THREADS", "all"),
        "rank": RANK,
        "members": MEMBERS,
        "fusion": {
            name: fusion_costs(
                CASES[name](), repeats, peft=peft, inert=INERT[name]() if name in INERT else ()
            )
            for name in cases
        },
    }
    if domains:
        found["retrieval"] = retrieval_costs(repeats=repeats)
        with tempfile.TemporaryDirectory() as folder:
            found["library"] = library_costs(Path(folder), vit_b_linears(), domains=domains)
    return found


def fusion_costs(layers: Case, repeats: int, *, peft: bool, inert: Case = ()) -> dict[str, Any]:
    """Return the cost of one merge of `MEMBERS` adapters into the buffers of a slot.

    Args:
        layers: What the adapters change.
        repeats: Of each measurement.
        peft: Whether PEFT is measured, too.
        inert: What their files hold beside it; PEFT alone works on it.
    """
    weights, adapters = _weights(layers), random_adapters(layers)
    base = BaseWeights(weights, transposed={x.name for x in layers if x.transposed})
    by_name = {layer.name: layer for layer in layers}
    slot = SlotBuffers(by_name, base.only(list(by_name)))
    mixes = [_mix(seed) for seed in range(repeats)]
    pending = iter(mixes)

    def floor() -> None:
        for name, array in slot.arrays.items():
            np.copyto(array, base.as_stored(name))

    def ours() -> None:
        slot.fill(MergedWeights(base, adapters, next(pending)))

    found: dict[str, Any] = {
        "layers": len(layers),
        "values": sum(w.size for w in weights.values()),
        "memcpy": spread(floor, repeats),
        "ours": spread(ours, repeats),
    }
    found["ours_over_memcpy"] = _ratios(found["ours"], found["memcpy"])
    found |= _torch_costs(by_name, base, adapters, repeats)
    if peft:
        found["inert_layers_of_peft"] = len(inert)
        whole = [_with_zeros(adapter, inert) for adapter in adapters]
        merging = PeftMerge(weights | _weights(inert), whole, scaling=SCALING)
        found["peft"] = merging.costs(mixes)
        found["peft_over_ours"] = _ratios(found["peft"]["to_merged_state"], found["ours"])
        found["largest_difference_to_peft"] = found["peft"].pop("difference")(
            MergedWeights(base, adapters, mixes[-1])
        )
    return found


def _torch_costs(
    layers: Mapping[str, GraphWeight],
    base: BaseWeights,
    adapters: Sequence[LoraAdapter],
    repeats: int,
) -> dict[str, Any]:
    """Return the cost of torch's stacked merge on the CPU, and on a GPU where there is one."""
    try:
        import torch
    except ImportError:
        return {}
    from semla_ros.engine.torch_fusion import TorchBank

    found = {}
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        bank = TorchBank(layers, base.only(list(layers)), device=device)
        slot, pending = bank.slot(), iter([_mix(seed) for seed in range(repeats)])

        def fill(bank: Any = bank, slot: Any = slot, pending: Any = pending) -> None:  # noqa: ANN401
            bank.fill(MergedWeights(base, adapters, next(pending)), slot)
            if torch.cuda.is_available():
                torch.cuda.synchronize()

        found[f"torch_{device}"] = spread(fill, repeats)
    return found


def _ratios(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    """Return how many times `other` fits into `one`, by each statistic."""
    return {name: one[name] / other[name] for name in other}


def random_adapters(layers: Case, *, members: int = MEMBERS) -> list[LoraAdapter]:
    """Return `members` adapters of rank `RANK` for `layers`, B lying as files are read."""
    made = []
    for seed in range(members):
        rng = np.random.default_rng(seed)
        factors = {
            layer.name: LoraLayer(
                rng.standard_normal((RANK, layer.shape[1]), np.float32) * np.float32(0.02),
                np.asfortranarray(
                    rng.standard_normal((layer.shape[0], RANK), np.float32) * np.float32(0.02)
                ),
                SCALING,
            )
            for layer in layers
        }
        made.append(LoraAdapter(f"domain{seed}", factors))
    return made


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


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cases", nargs="+", choices=tuple(CASES), default=list(CASES))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--no-peft", action="store_true")
    parser.add_argument("--domains", type=int, default=2000, help="0: no library, no retrieval")
    return parser.parse_args()


if __name__ == "__main__":
    given = _arguments()
    figures = run(
        given.cases, repeats=given.repeats, peft=not given.no_peft, domains=given.domains
    )
    json.dump(figures, sys.stdout, indent=1)
    sys.stdout.write("\n")
