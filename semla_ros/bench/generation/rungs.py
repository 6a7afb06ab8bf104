"""The rungs of the ladder as rows: who serves a domain that is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from semla_ros.bench.generation.ladder import Rungs
from semla_ros.bench.generation.masks import (
    NEAREST,
    RANDOM,
    SHUFFLED,
    Left,
    picks,
    random_like,
    register,
)
from semla_ros.bench.generation.vector import factors_of
from semla_ros.core.types import LoraAdapter
from semla_ros.demo.model.experiment import MixOf
from semla_ros.library.fusion import fused
from semla_ros.prepare.training.runner import Runner

SAMPLED = " #"
"""Between a row and the number of its sample."""

Snapshots = Mapping[str, Sequence[LoraAdapter]]
"""Domain -> its adapters in the last epochs, the last one last."""


def rung_rows(
    runner: Runner, lefts: Sequence[Left], snapshots: Snapshots, *, seed: int
) -> dict[str, MixOf]:
    """Return row -> who picks the mix; the adapters are from now on the runner's."""
    rows: dict[str, MixOf] = {}
    words = {left.domain: left.words for left in lefts}
    for left in lefts:
        for row, adapter in _adapters(left, words, snapshots, seed=seed).items():
            register(runner, row, left.domain, adapter)
            rows[row] = picks(row)
    return rows


def _adapters(
    left: Left, words: Mapping[str, Mapping[str, float]], snapshots: Snapshots, *, seed: int
) -> dict[str, LoraAdapter]:
    last = {name: replace(each[-1], name=name) for name, each in snapshots.items()}
    experts = [last[name] for name in last if name != left.domain]
    even = dict.fromkeys((e.name for e in experts), 1.0 / len(experts))
    rungs = _rungs(left, words, snapshots)
    mean = rungs.mean_of_factors()
    rng = np.random.default_rng([seed, *left.domain.encode()])
    return {
        "oracle: its own adapter": last[left.domain],
        "control: uniform": fused(experts, even, name="uniform"),
        NEAREST: fused(experts, {next(iter(left.words)): 1.0}, name="nearest"),
        SHUFFLED: fused(experts, left.permuted, name="shuffled"),
        RANDOM: random_like(mean, rng),
        "L0, weighted sum of changes": fused(experts, left.words, name="changes"),
        "L0, weighted mean of factors": mean,
        "L1, affine in the text": fused(experts, left.affine, name="affine"),
        **_numbered("L2, Gaussian in the latent", rungs.gaussian(seed)),
        **_numbered("L3, CVAE in the latent", rungs.cvae(seed)),
    }


def _rungs(left: Left, words: Mapping[str, Mapping[str, float]], snapshots: Snapshots) -> Rungs:
    names = [name for name in snapshots if name != left.domain]
    every = [adapter for name in names for adapter in snapshots[name]]
    vectors, layout = factors_of(every)
    count = len(snapshots[names[0]])
    by_name = {name: vectors[i * count : (i + 1) * count] for i, name in enumerate(names)}
    return Rungs(by_name, layout, left.words, {n: _without(words[n], left.domain) for n in names})


def _without(weights: Mapping[str, float], domain: str) -> dict[str, float]:
    kept = {name: weight for name, weight in weights.items() if name != domain}
    total = sum(kept.values())
    return {name: weight / total for name, weight in kept.items()}


def _numbered(row: str, adapters: Sequence[LoraAdapter]) -> dict[str, LoraAdapter]:
    return {f"{row}{SAMPLED}{i}": adapter for i, adapter in enumerate(adapters)}
