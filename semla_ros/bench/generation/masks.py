"""Adapters from words for masks: each domain of the demo world without its own adapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from semla_ros.bench.generation.affine import affine_weights
from semla_ros.bench.record import Row
from semla_ros.core.types import AdapterMix, Float64Array, LoraAdapter, LoraLayer, UInt8Array
from semla_ros.demo.model.experiment import MixOf
from semla_ros.evaluation.study.text_strategies import Words, shuffled, words_of
from semla_ros.library.fusion import fused
from semla_ros.library.retrieval import RetrievalSettings, retrieve
from semla_ros.navigator.distance import CentroidBank, euclidean
from semla_ros.navigator.text_encoder import OnnxTextEncoder
from semla_ros.prepare.generation.combine import change_norm, combine
from semla_ros.prepare.generation.generate import expert_weights
from semla_ros.prepare.training.runner import Runner

GENERATED = "generated: weighted, at the library's rank and norms"
EXACT = "weighted sum, exact"
AFFINE = "affine in the text, exact"
NEAREST, RANDOM, SHUFFLED = (
    "control: nearest one",
    "control: random of equal norm",
    "control: shuffled descriptions",
)
SEMLA_BESIDE = "SemLA, and the generated one beside"
SEMLA_CROWD = "SemLA, whole library, and all generated ones beside"


@dataclass(frozen=True, slots=True)
class Left:
    """A domain and what is left without its adapter.

    Attributes:
        domain: The one that is generated.
        experts: The other adapters.
        words: Expert -> weight by what the domain's captions say; heaviest first.
        permuted: The same as if the experts' descriptions had been permuted.
        affine: Expert -> weight of the affine map.
    """

    domain: str
    experts: tuple[LoraAdapter, ...]
    words: Mapping[str, float]
    permuted: Mapping[str, float]
    affine: Mapping[str, float]


def left_of(runner: Runner) -> tuple[Left, ...]:
    """Return every domain of the runner's library, left out.

    Raises:
        SemlaError: The bundle reads no text, or has too few captions.
    """
    bundle, library = runner.bundle, runner.library
    words = words_of(bundle, library)
    wrong = shuffled(words)
    encoder = OnnxTextEncoder(bundle)
    vectors = {
        name: encoder.encode(texts).mean(axis=0, dtype=np.float64)
        for name, texts in library.captions.items()
    }
    found = []
    for domain in words:
        names = [n for n in library.names if n != domain]
        experts = tuple(library.get(n) for n in names)
        affine = affine_weights(vectors[domain], np.stack([vectors[n] for n in names]))
        found.append(
            Left(
                domain,
                experts,
                _weights(runner, words, domain),
                _weights(runner, wrong, domain),
                dict(zip(names, affine.tolist(), strict=True)),
            )
        )
    return tuple(found)


def adapters_of(left: Left, *, seed: int) -> dict[str, LoraAdapter]:
    """Return row -> the adapter that it gives the domain."""
    made = combine(left.experts, left.words, name="generated").adapter
    return {
        GENERATED: made,
        EXACT: fused(left.experts, left.words, name="exact"),
        AFFINE: fused(left.experts, left.affine, name="affine"),
        NEAREST: fused(left.experts, {next(iter(left.words)): 1.0}, name="nearest"),
        SHUFFLED: fused(left.experts, left.permuted, name="shuffled"),
        RANDOM: random_like(made, np.random.default_rng([seed, *left.domain.encode()])),
    }


def random_like(adapter: LoraAdapter, rng: np.random.Generator) -> LoraAdapter:
    """Return Gaussian factors of the same shapes, the change of each layer as large as there."""
    layers = {}
    for name, layer in adapter.layers.items():
        a = rng.normal(size=layer.lora_a.shape).astype(np.float32)
        b = rng.normal(size=layer.lora_b.shape).astype(np.float32)
        drawn = LoraLayer(a, b, 1.0)
        layers[name] = replace(drawn, scaling=change_norm(layer) / change_norm(drawn))
    return replace(adapter, layers=layers)


def fixed_rows(runner: Runner, lefts: Sequence[Left], *, seed: int) -> dict[str, MixOf]:
    """Return row -> who picks the mix; the adapters are from now on the runner's."""
    rows: dict[str, MixOf] = {}
    for left in lefts:
        for row, adapter in adapters_of(left, seed=seed).items():
            register(runner, row, left.domain, adapter)
            rows[row] = picks(row)
    return rows


def live_rows(
    runner: Runner, lefts: Sequence[Left], settings: RetrievalSettings
) -> dict[str, MixOf]:
    """Return the rows in which SemLA retrieves among real and generated adapters."""
    library = runner.library
    places = {n: library.statistics[n].centroid.astype(np.float64) for n in library.names}
    made = {_called(GENERATED, left.domain): predicted(places, left.words) for left in lefts}

    def beside(domain: str, rgb: UInt8Array) -> AdapterMix:
        own = _called(GENERATED, domain)
        known = {n: p for n, p in places.items() if n != domain} | {own: made[own]}
        return _retrieved(runner, known, rgb, settings)

    return {
        SEMLA_BESIDE: beside,
        SEMLA_CROWD: lambda _, rgb: _retrieved(runner, places | made, rgb, settings),
    }


def register(runner: Runner, row: str, domain: str, adapter: LoraAdapter) -> None:
    """Let `adapter` be what `row` gives `domain`."""
    name = _called(row, domain)
    runner.extra[name] = replace(adapter, name=name)


def picks(row: str) -> MixOf:
    """Return who picks, for each domain, the adapter that `row` gives it."""
    return lambda domain, _: AdapterMix((_called(row, domain),), (1.0,))


def centroid_rows(runner: Runner, lefts: Sequence[Left]) -> list[Row]:
    """Return how far predicted centroids lie from the true ones, and what that compares with."""
    known = runner.library.statistics
    places = {n: known[n].centroid.astype(np.float64) for n in runner.library.names}
    rows: list[Row] = []
    for left in lefts:
        true, quantiles = places[left.domain], known[left.domain].quantiles
        others = [float(np.linalg.norm(places[e.name] - true)) for e in left.experts]
        rows.append(
            {
                "domain": left.domain,
                "weighted": float(np.linalg.norm(predicted(places, left.words) - true)),
                "affine": float(np.linalg.norm(predicted(places, left.affine) - true)),
                "nearest other centroid": min(others),
                "its own images, median": quantiles.at(0.5) if quantiles else None,
            }
        )
    return rows


def predicted(places: Mapping[str, Float64Array], weights: Mapping[str, float]) -> Float64Array:
    """Return the weighted mean of centroids (D,)."""
    total: Float64Array = np.sum([w * places[n] for n, w in weights.items()], axis=0)
    return total


def _weights(runner: Runner, words: Words, domain: str) -> dict[str, float]:
    others = {n: c for n, c in words[domain].cosines.items() if n != domain}
    return expert_weights(runner.bundle, replace(words[domain], cosines=others))


def _retrieved(
    runner: Runner,
    places: Mapping[str, Float64Array],
    rgb: UInt8Array,
    settings: RetrievalSettings,
) -> AdapterMix:
    bank = CentroidBank(tuple(places), np.stack(list(places.values())))
    away = euclidean(runner.embed(rgb), bank)
    return retrieve(bank.names, away, settings=settings)


def _called(row: str, domain: str) -> str:
    return f"{row} / {domain}"
