"""Strategies by name: which mix each of them wants for a frame."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import numpy as np

from semla_ros.core.errors import ConfigError, EmptyLibraryError
from semla_ros.core.types import BASE, AdapterMix, Float32Array
from semla_ros.evaluation.mixes import mix_of
from semla_ros.evaluation.study.observation import Observation
from semla_ros.evaluation.study.study import (
    FIXED,
    GATED,
    GATED_AT,
    ORACLE,
    SEMLA,
    UNIFORM,
    ZERO_SHOT,
)
from semla_ros.library.retrieval import RetrievalSettings, retrieve

DEFAULT_STRATEGIES = (ZERO_SHOT, UNIFORM, SEMLA, GATED, ORACLE)
OWN_DOMAIN = "domain"
"""`--leave-out domain`: the adapter of the frame's own domain."""


Strategy = Callable[[Observation], AdapterMix | None]
"""Says for each frame, in order, which mix is to serve; None where the strategy has no meaning."""


def uniform(names: Sequence[str], seen: Observation) -> AdapterMix:
    """Return all adapters that are not left out alike, the base where none is left.

    Source: SemLA (CVPR 2025), the baseline `uniform`.
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
    if seen.embedding is None:
        return None
    allowed = replace(settings, exclude=settings.exclude | seen.excluded)
    try:
        return retrieve(names, seen.distances, settings=allowed)
    except EmptyLibraryError:
        return _base()


def check_strategies(strategies: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Return the strategies, each once.

    Args:
        strategies: As the user gave them.
        names: The library's adapters.

    Raises:
        ConfigError: None, or an unknown one.
        LibraryError: A fixed mix of adapters that are not there.
    """
    known = (*DEFAULT_STRATEGIES, f"{FIXED}NAME=w,…", f"{GATED_AT}TRIGGER")
    for each in strategies:
        if each.startswith(FIXED):
            mix_of(each.removeprefix(FIXED), names)
        elif each.startswith(GATED_AT):
            trigger_of(each)
        elif each not in DEFAULT_STRATEGIES:
            raise ConfigError(f"expected strategies of {known!r}, got {each!r}")
    if not strategies:
        raise ConfigError(f"expected at least one strategy of {known!r}, got none")
    return tuple(dict.fromkeys(strategies))


def strategy_of(strategy: str, names: Sequence[str], settings: RetrievalSettings) -> Strategy:
    """Return who decides for `strategy`, one of those that keep no state.

    Raises:
        ConfigError: It keeps one (the gated ones), or there is none of that name.
    """
    stateless: dict[str, Strategy] = {
        ZERO_SHOT: lambda _: _base(),
        UNIFORM: lambda seen: uniform(names, seen),
        SEMLA: lambda seen: semla_mix(names, seen, settings),
        ORACLE: lambda seen: oracle(names, seen),
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


def _base() -> AdapterMix:
    return AdapterMix.base_only()
