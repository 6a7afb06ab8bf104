"""Strategies by name: which mix each of them wants for a frame."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import numpy as np

from semla_ros.core.errors import ConfigError, EmptyLibraryError, LibraryError
from semla_ros.core.types import BASE, AdapterMix, Float32Array, Float64Array
from semla_ros.evaluation.mixes import mix_of
from semla_ros.evaluation.study.observation import Observation
from semla_ros.evaluation.study.study import (
    ADAPTER_SOUP,
    FIXED,
    GATED,
    GATED_AT,
    LATE_FUSION,
    LDA_GATE,
    ORACLE,
    SEMLA,
    TOP_K_WEIGHTED,
    UNIFORM,
    ZERO_SHOT,
)
from semla_ros.evaluation.study.text_strategies import (
    NO_WORDS,
    TEXT,
    TEXT_NEAREST,
    TEXT_SHUFFLED,
    TEXT_STRATEGIES,
    Words,
    nearest_mix,
    shuffled,
    text_mix,
)
from semla_ros.library.retrieval import RetrievalSettings, retrieve
from semla_ros.navigator.distance import MIN_COVARIANCE_SAMPLES, CentroidBank, cosine

DEFAULT_STRATEGIES = (ZERO_SHOT, UNIFORM, SEMLA, GATED, ORACLE)
BASELINES = (ADAPTER_SOUP, TOP_K_WEIGHTED, LDA_GATE, LATE_FUSION)
CLIP_TEMPERATURE = 0.01
"""Of a softmax over cosines. Source: Radford et al., 2021: the logit scale is held at 100."""
OWN_DOMAIN = "domain"
"""`--leave-out domain`: the adapter of the frame's own domain."""


Strategy = Callable[[Observation], AdapterMix | None]
"""Says for each frame, in order, which mix is to serve; None where the strategy has no meaning."""


def uniform(names: Sequence[str], seen: Observation) -> AdapterMix:
    """Return all adapters that are not left out alike, the base where none is left.

    Source: SemLA (CVPR 2025), the baseline `uniform`; Wortsman et al., 2022, Model Soups, of the
        changes of weights.
    """
    kept = [n for n in names if n not in seen.excluded]
    return AdapterMix.from_weights(dict.fromkeys(kept, 1.0)) if kept else _base()


def oracle(names: Sequence[str], seen: Observation) -> AdapterMix | None:
    """Return the adapter named like the frame's domain, alone."""
    own = named_like(seen.domain, names)
    return None if own is None else AdapterMix((own,), (1.0,))


def semla_mix(
    names: Sequence[str], seen: Observation, settings: RetrievalSettings
) -> AdapterMix | None:
    """Return SemLA as published: what retrieval asks for on this frame alone.

    None without a navigator.
    """
    return None if seen.embedding is None else _retrieved(names, seen, seen.distances, settings)


def adapter_soup(
    names: Sequence[str], seen: Observation, settings: RetrievalSettings
) -> AdapterMix:
    """Return the `top_k` nearest adapters alike.

    Source: Chronopoulou et al., 2023, AdapterSoup; here changes of weights are averaged.
    """
    nearest = _retrieved(names, seen, seen.distances, replace(settings, null_distance=-1.0))
    return AdapterMix.from_weights(dict.fromkeys(nearest.names, 1.0))


def top_k_weighted(
    names: Sequence[str], seen: Observation, settings: RetrievalSettings, bank: CentroidBank
) -> AdapterMix:
    """Return the `top_k` adapters nearest by cosine, weighted by its softmax.

    Source: SG-LoRA (CVPR 2026), the baseline "Top-K LoRA Weighted"; it states no temperature, so
        CLIP's is taken, and centroids of images stand for its texts.
    """
    away = cosine(seen.known_embedding, bank)
    return _retrieved(names, seen, away, _softmax_of(settings, CLIP_TEMPERATURE))


def lda_gate(
    names: Sequence[str], seen: Observation, settings: RetrievalSettings, bank: CentroidBank
) -> AdapterMix:
    """Return all adapters, each weighted by the probability that the frame is of its domain.

    A learned gate over adapters, fitted by linear discriminant analysis to the statistics that
    the library holds; a mixture of LoRA experts learns its gate through the task's loss instead.

    Raises:
        LibraryError: The library holds too few images to know the spread within domains.

    Source: Fisher, 1936; Wu et al., 2024, "Mixture of LoRA experts".
    """
    if bank.whitening is None or bank.turned is None:
        raise LibraryError(
            f"strategy {LDA_GATE!r}: expected covariances of {MIN_COVARIANCE_SAMPLES} images or "
            "more in the library's statistics, got fewer: embed more images or leave it out"
        )
    away = bank.turned - seen.known_embedding.astype(np.float64) @ bank.whitening
    half_squared = 0.5 * np.einsum("kd,kd->k", away, away)
    settings = replace(_softmax_of(settings, 1.0), top_k=max(1, len(names)))
    return _retrieved(names, seen, half_squared, settings)


def check_strategies(strategies: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Return the strategies, each once.

    Args:
        strategies: As the user gave them.
        names: The library's adapters.

    Raises:
        ConfigError: None, or an unknown one.
        LibraryError: A fixed mix of adapters that are not there.
    """
    known = (
        *DEFAULT_STRATEGIES,
        *BASELINES,
        *TEXT_STRATEGIES,
        f"{FIXED}NAME=w,…",
        f"{GATED_AT}TRIGGER",
    )
    for each in strategies:
        if each.startswith(FIXED):
            mix_of(each.removeprefix(FIXED), names)
        elif each.startswith(GATED_AT):
            trigger_of(each)
        elif each not in known:
            raise ConfigError(f"expected strategies of {known!r}, got {each!r}")
    if not strategies:
        raise ConfigError(f"expected at least one strategy of {known!r}, got none")
    return tuple(dict.fromkeys(strategies))


def needs_navigator(strategy: str) -> bool:
    """Return whether a strategy decides by embeddings."""
    return strategy in BASELINES or strategy.startswith(SEMLA)


def strategy_of(
    strategy: str,
    names: Sequence[str],
    settings: RetrievalSettings,
    bank: CentroidBank,
    words: Words = NO_WORDS,
) -> Strategy:
    """Return who decides for `strategy`, one of those that keep no state.

    Raises:
        ConfigError: It keeps one (the gated ones), or there is none of that name.
    """
    stateless: dict[str, Strategy] = {
        ZERO_SHOT: lambda _: _base(),
        UNIFORM: lambda seen: uniform(names, seen),
        SEMLA: lambda seen: semla_mix(names, seen, settings),
        ORACLE: lambda seen: oracle(names, seen),
        ADAPTER_SOUP: lambda seen: adapter_soup(names, seen, settings),
        TOP_K_WEIGHTED: lambda seen: top_k_weighted(names, seen, settings, bank),
        LDA_GATE: lambda seen: lda_gate(names, seen, settings, bank),
        LATE_FUSION: lambda seen: semla_mix(names, seen, settings),
        TEXT: lambda seen: text_mix(names, seen, settings, words),
        TEXT_NEAREST: lambda seen: nearest_mix(names, seen, settings, words),
        TEXT_SHUFFLED: lambda seen: text_mix(names, seen, settings, shuffled(words)),
    }
    if strategy.startswith(FIXED):
        mix = mix_of(strategy.removeprefix(FIXED), names)
        return lambda _: mix
    if strategy not in stateless:
        raise ConfigError(f"expected a strategy of {tuple(stateless)!r}, got {strategy!r}")
    return stateless[strategy]


def trigger_of(strategy: str) -> float:
    """Return the trigger of `semla-gated@TRIGGER`.

    Raises:
        ConfigError: It is no number of 0 to 1.
    """
    text = strategy.removeprefix(GATED_AT)
    try:
        trigger = float(text)
    except ValueError:
        trigger = -1.0
    if not 0 <= trigger <= 1:
        raise ConfigError(f"expected {GATED_AT}TRIGGER with a trigger of 0 to 1, got {strategy!r}")
    return trigger


def left_out(pattern: str, names: Sequence[str], domain: str) -> frozenset[str]:
    """Return the adapters that may not serve a frame of `domain`.

    Args:
        pattern: `domain`, a name or glob pattern of adapters, or "".
        names: The library's adapters.
        domain: Of the frame.
    """
    if pattern == OWN_DOMAIN:
        own = named_like(domain, names)
        return frozenset() if own is None else frozenset({own})
    return frozenset(fnmatch.filter(names, pattern)) if pattern else frozenset()


def check_leave_out(pattern: str, names: Sequence[str]) -> None:
    """Check that a pattern leaves something out, and something in.

    Raises:
        ConfigError: No adapter fits it, or all do.
    """
    if not pattern or pattern == OWN_DOMAIN:
        return
    out = fnmatch.filter(names, pattern)
    if not out or len(out) == len(names):
        raise ConfigError(
            f"expected --leave-out to fit some of {tuple(names)!r}, {pattern!r} fits {out!r}"
        )


def named_like(domain: str, names: Collection[str]) -> str | None:
    """Return the adapter named like `domain`, whatever the case."""
    return next((n for n in names if n.lower() == domain.lower()), None)


def mix_row(mix: AdapterMix | None, names: Sequence[str]) -> Float32Array:
    """Return the weights of `mix` over (*names, base), (N + 1,) float32; zeros for None."""
    row = np.zeros(len(names) + 1, dtype=np.float32)
    if mix is not None:
        place = {name: i for i, name in enumerate((*names, BASE))}
        for name, weight in zip(mix.names, mix.weights, strict=True):
            row[place[name]] += weight
    return row


def _retrieved(
    names: Sequence[str], seen: Observation, distances: Float64Array, settings: RetrievalSettings
) -> AdapterMix:
    """Return what retrieval asks for without what is left out; the base where nothing is left."""
    allowed = replace(settings, exclude=settings.exclude | seen.excluded)
    try:
        return retrieve(names, distances, settings=allowed)
    except EmptyLibraryError:
        return _base()


def _softmax_of(settings: RetrievalSettings, temperature: float) -> RetrievalSettings:
    """Return settings whose weights are softmax(-distance / temperature), without the base."""
    return replace(
        settings, similarity="neg_distance", temperature=temperature, null_distance=-1.0
    )


def _base() -> AdapterMix:
    return AdapterMix.base_only()
