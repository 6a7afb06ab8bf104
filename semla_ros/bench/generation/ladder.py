"""The rungs that need adapters of one start: means of factors, a Gaussian and a CVAE in a latent.

Adapters are trained from recycled columns of W0, so their factors may be compared. The latent is
the principal components of the experts' snapshots; conditions and samples live in it.
Source: SG-LoRA (CVPR 2026), on few adapters of a network for masks.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from semla_ros.bench.generation.cvae import CvaeOptions, train_cvae
from semla_ros.bench.generation.prior import Prior, semantic_prior
from semla_ros.bench.generation.vector import FactorLayout, unflatten
from semla_ros.bundle import ModelBundle
from semla_ros.core.types import Float32Array, Float64Array, LoraAdapter
from semla_ros.demo.model.networks import class_prompts
from semla_ros.demo.model.recipe import SceneSeeds
from semla_ros.demo.model.scenes import DomainScenes, render_domain
from semla_ros.demo.world import DOMAINS
from semla_ros.library.storage import read_adapter
from semla_ros.prepare.adapters.write import write_adapter
from semla_ros.prepare.training.adapter import chosen_layers
from semla_ros.prepare.training.hardware import CPU, Hardware
from semla_ros.prepare.training.initial import Start, start_of
from semla_ros.prepare.training.low_rank import adapter_of, attached
from semla_ros.prepare.training.networks import trained_network
from semla_ros.prepare.training.objective import Objective
from semla_ros.prepare.training.recipe import Recipe
from semla_ros.prepare.training.steps import Problem
from semla_ros.prepare.training.trainer import RunOptions, train

SNAPSHOTS = 10
COMPONENTS = 32
SAMPLES = 4
_SHARES = (0.25, 0.5, 0.75)
CVAE = CvaeOptions(latent=16, steps=1500)

WeightsOf = Mapping[str, float]
"""Expert -> weight, of sum 1."""


def trained_snapshots(
    bundle: ModelBundle, recipe: Recipe, *, count: int, folder: Path, say: Callable[[str], None]
) -> dict[str, list[LoraAdapter]]:
    """Return domain -> its last `SNAPSHOTS` adapters; those that lie in `folder` are read."""
    found = {}
    for domain in DOMAINS:
        place = folder / domain
        if not place.is_dir():
            say(f"seed {recipe.seed}: training {domain}")
            scenes = render_domain(domain, first_seed=SceneSeeds().train, count=count)
            part = folder / f".{domain}"
            shutil.rmtree(part, ignore_errors=True)
            for i, adapter in enumerate(train_snapshots(bundle, scenes, recipe)):
                write_adapter(part / f"{i:02d}", adapter, alpha=2 * recipe.alpha)
            part.rename(place)
        found[domain] = [read_adapter(each, name=domain) for each in sorted(place.iterdir())]
    return found


def train_snapshots(
    bundle: ModelBundle, scenes: DomainScenes, recipe: Recipe
) -> list[LoraAdapter]:
    """Return the last `SNAPSHOTS` adapters of one domain, `recipe.evaluate_every` steps apart."""
    network = trained_network(bundle)
    prompts = class_prompts(Tokenizer.from_file(str(bundle.tokenizer)), synonyms=True)
    rng = np.random.default_rng(recipe.seed)
    kept: list[LoraAdapter] = []

    def start(_: str, weight: Float32Array) -> Start:
        return start_of(recipe.init, weight, recipe.ranks, alpha=recipe.alpha, rng=rng)

    with attached(network.model, chosen_layers(bundle, recipe), start) as changes:
        problem = Problem(
            objective=Objective(network, balance=recipe.balance, changes=changes.changes.values()),
            parameters=changes.parameters(),
            groups=changes.groups(recipe),
            train=scenes.images,
            held_out=(),
            prompts=prompts,
            tokens=prompts(rng),
        )

        def keep(_: object) -> None:
            base = bundle.manifest.base_model
            kept.append(adapter_of(changes, name=scenes.domain, base_model=base))
            del kept[:-SNAPSHOTS]

        train(problem, recipe, RunOptions(Hardware(CPU), on_score=keep, title=scenes.domain))
    return kept


@dataclass(frozen=True, slots=True)
class Latent:
    """Principal components of snapshots.

    Attributes:
        middle: (P,).
        axes: (C, P), orthonormal.
    """

    middle: Float64Array
    axes: Float64Array

    @classmethod
    def of(cls, vectors: Float32Array) -> Latent:
        """Return the first `COMPONENTS` of `vectors` (N, P), fewer where N is small."""
        middle = vectors.mean(axis=0, dtype=np.float64)
        away = vectors - middle
        values, turns = np.linalg.eigh(away @ away.T)
        kept = np.flatnonzero(values > 1e-9 * values[-1])[-COMPONENTS:]
        return cls(middle, (turns[:, kept] / np.sqrt(values[kept])).T @ away)

    def down(self, vectors: Float32Array) -> Float32Array:
        """Return coordinates (N, C) of `vectors` (N, P)."""
        found: Float32Array = ((vectors - self.middle) @ self.axes.T).astype(np.float32)
        return found

    def up(self, coordinates: Float32Array) -> Float32Array:
        """Return vectors (N, P) at `coordinates` (N, C)."""
        found: Float32Array = (coordinates @ self.axes + self.middle).astype(np.float32)
        return found


@dataclass(frozen=True, slots=True)
class Rungs:
    """What is generated for one domain from the snapshots of the others.

    Attributes:
        snapshots: Expert -> (M, P).
        layout: What the numbers are.
        weights: Of the experts for the domain.
        among: Expert -> weights of the others for it, as if it had not been trained.
    """

    snapshots: Mapping[str, Float32Array]
    layout: FactorLayout
    weights: WeightsOf
    among: Mapping[str, WeightsOf]

    def mean_of_factors(self) -> LoraAdapter:
        """Return the weighted mean of the experts' factors."""
        total = np.sum(
            [w * self.snapshots[n].mean(axis=0) for n, w in self.weights.items()], axis=0
        )
        return self._adapter(total)

    def gaussian(self, seed: int) -> list[LoraAdapter]:
        """Return samples of the prior in the latent."""
        latent, low = self._latent()
        prior = _prior(low, self.weights)
        rng = np.random.default_rng(seed)
        noise = rng.normal(size=(SAMPLES, len(prior.mean)))
        drawn = (prior.mean + np.sqrt(prior.variance) * noise).astype(np.float32)
        return [self._adapter(v) for v in latent.up(drawn)]

    def cvae(self, seed: int) -> list[LoraAdapter]:
        """Return samples of a CVAE fitted to the experts, and to mixes of two of them."""
        latent, low = self._latent()
        vectors, priors = [], []
        for name, weights in self.among.items():
            vectors.append(low[name])
            priors += [_prior(low, weights)] * len(low[name])
        for (one, other), share in (
            (pair, share) for pair in combinations(self.among, 2) for share in _SHARES
        ):
            mixed = _blend(self.among[one], self.among[other], share)
            vectors.append((1 - share) * low[one] + share * low[other])
            priors += [_prior(low, mixed)] * len(low[one])
        options = CvaeOptions(CVAE.latent, steps=CVAE.steps, seed=seed)
        generator = train_cvae(np.concatenate(vectors).astype(np.float32), priors, options)
        drawn = generator.sample(_prior(low, self.weights), SAMPLES, seed=seed)
        return [self._adapter(v) for v in latent.up(drawn)]

    def _latent(self) -> tuple[Latent, dict[str, Float32Array]]:
        latent = Latent.of(np.concatenate(list(self.snapshots.values())))
        return latent, {name: latent.down(each) for name, each in self.snapshots.items()}

    def _adapter(self, vector: Float32Array) -> LoraAdapter:
        return unflatten(vector.astype(np.float32), self.layout, name="generated")


def _prior(low: Mapping[str, Float32Array], weights: WeightsOf) -> Prior:
    return semantic_prior(
        np.array(list(weights.values())),
        np.stack([low[name].mean(axis=0, dtype=np.float64) for name in weights]),
        np.stack([low[name].var(axis=0, dtype=np.float64) for name in weights]),
    )


def _blend(one: WeightsOf, other: WeightsOf, share: float) -> dict[str, float]:
    names = dict.fromkeys((*one, *other))
    return {n: (1 - share) * one.get(n, 0.0) + share * other.get(n, 0.0) for n in names}
