"""Choose adapters: distances in, a mix out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from semla_ros.bundle import AdaptationDefaults
from semla_ros.core.config import Config
from semla_ros.core.errors import ConfigError, EmptyLibraryError, LibraryError
from semla_ros.core.types import (
    BASE,
    MIN_DISTANCE,
    AdapterMix,
    Float64Array,
    Indices,
)
from semla_ros.library.text_prior import TextPrior


def inverse(distances: Float64Array) -> Float64Array:
    """Return 1 / d, the similarity SemLA publishes."""
    return 1.0 / distances


def neg_distance(distances: Float64Array) -> Float64Array:
    """Return -d, a similarity whose temperature does not depend on how near the library is."""
    return -distances


Similarity = Callable[[Float64Array], Float64Array]
SIMILARITIES: Mapping[str, Similarity] = MappingProxyType(
    {"inverse": inverse, "neg_distance": neg_distance}
)
PRESETS: Mapping[str, tuple[float, int]] = MappingProxyType(
    {"semla_k5": (0.05, 5), "semla_k7": (0.01, 7)}
)
"""Temperature and top_k as published. Source: SemLA (CVPR 2025), Table 6 and supplement B.3."""


@dataclass(frozen=True, slots=True)
class RetrievalSettings:
    """How distances become a mix.

    Attributes:
        temperature: Of the softmax over similarity, > 0.
        top_k: At most so many members, >= 1.
        similarity: A name of `SIMILARITIES`.
        null_distance: Distance at which the base itself competes; not above 0: it never does.
        exclude: Adapters never chosen.
    """

    temperature: float = 0.05
    top_k: int = 5
    similarity: str = "inverse"
    null_distance: float = -1.0
    exclude: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise ConfigError(f"expected a temperature above 0, got {self.temperature!r}")
        if self.top_k < 1:
            raise ConfigError(f"expected top_k of at least 1, got {self.top_k!r}")
        if self.similarity not in SIMILARITIES:
            raise ConfigError(
                f"expected a similarity of {tuple(SIMILARITIES)!r}, got {self.similarity!r}"
            )
        if not math.isfinite(self.null_distance):
            raise ConfigError(f"expected a finite null distance, got {self.null_distance!r}")


def settings_from(config: Config, defaults: AdaptationDefaults) -> RetrievalSettings:
    """Return the settings of `config`, open places filled from the bundle's `defaults`.

    Raises:
        ConfigError: The bundle recommends something impossible.
    """
    temperature, top_k = PRESETS.get(
        config.retrieval_preset, (defaults.temperature, defaults.top_k)
    )
    null = config.null_distance if config.null_distance != 0 else defaults.null_distance
    bundled = config.similarity == "bundle"
    return RetrievalSettings(
        temperature=config.temperature or temperature,
        top_k=config.top_k or top_k,
        similarity=defaults.similarity if bundled else config.similarity,
        null_distance=null,
        exclude=config.excluded,
    )


def retrieve(
    names: Sequence[str],
    distances: Float64Array,
    *,
    settings: RetrievalSettings,
    prior: TextPrior | None = None,
    share: float = 0.0,
) -> AdapterMix:
    """Return the nearest adapters, weighted by softmax(similarity / temperature).

    With a prior the weights are proportional to image^(1 - share) * text^share.

    Args:
        names: The library's adapters, in its order; ties go to the earlier one.
        distances: (K,) distance to each, small = near; clamped to at least 1e-6.
        settings: Which similarity, how many, how sharp.
        prior: What words say; None: nothing.
        share: How much they count, in [0, 1].

    Raises:
        EmptyLibraryError: Nothing to choose from, and no null adapter.
        LibraryError: Distances of another length, negative or not finite.
    """
    allowed, values = _candidates(names, distances, settings)
    by_words = prior is not None and share >= 1  # no distance has a part, nor that of the base
    if settings.null_distance > 0 and not (by_words and len(values)):
        values = np.append(values, settings.null_distance)
    if not len(values):
        raise EmptyLibraryError(
            f"expected an adapter to choose from, got {tuple(names)!r} with "
            f"{sorted(settings.exclude)!r} excluded: add adapters or set a null distance"
        )
    similarity = SIMILARITIES[settings.similarity](np.maximum(values, MIN_DISTANCE))
    scores, temperature = similarity, settings.temperature
    if prior is not None and share > 0:
        known = [*(names[i] for i in allowed), BASE][: len(values)]
        scores = (1.0 - share) * similarity / temperature + share * prior.logits(known)
        temperature = 1.0
    nearest = _largest(scores, settings.top_k)
    weights = _softmax(scores[nearest] / temperature)
    chosen = (names[allowed[i]] if i < len(allowed) else BASE for i in nearest)
    return AdapterMix.from_weights(
        {name: float(w) for name, w in zip(chosen, weights, strict=True)}
    )


def agreement(
    names: Sequence[str],
    distances: Float64Array,
    *,
    settings: RetrievalSettings,
    prior: TextPrior,
) -> float:
    """Return how far an image bears out words, from 0 to 1; 1 where it says nothing either way.

    It is min(1, N sum of image_i text_i): how much likelier the image is where the words are right
    than where nothing is known. The base has no say: what no adapter is near to contradicts none.

    Args:
        names: The library's N adapters.
        distances: (N,) of one image to each, small = near.
        settings: Which similarity, how sharp, without which adapters.
        prior: What the words say.
    """
    allowed, values = _candidates(names, distances, settings)
    if not len(values):
        return 1.0
    similarity = SIMILARITIES[settings.similarity](np.maximum(values, MIN_DISTANCE))
    seen = _softmax(similarity / settings.temperature)
    said = _softmax(prior.logits([names[i] for i in allowed]))
    return min(1.0, len(values) * float(seen @ said))


def _candidates(
    names: Sequence[str], distances: Float64Array, settings: RetrievalSettings
) -> tuple[Indices, Float64Array]:
    """Return places and distances of what may be chosen."""
    checked = np.asarray(distances, dtype=np.float64)
    if checked.shape != (len(names),) or not np.isfinite(checked).all() or (checked < 0).any():
        raise LibraryError(f"expected {len(names)} finite distances >= 0, got {checked!r}")
    excluded = [i for i, name in enumerate(names) if name in settings.exclude]
    allowed = np.delete(np.arange(len(names)), excluded)
    return allowed, checked[allowed]


def _largest(values: Float64Array, count: int) -> Indices:
    """Return the indices of the `count` largest values, largest first; ties: the earlier one."""
    if count < len(values):
        least = np.partition(values, len(values) - count)[len(values) - count]
        chosen = np.flatnonzero(values >= least)
    else:
        chosen = np.arange(len(values))
    return chosen[np.argsort(-values[chosen], kind="stable")][:count]


def _softmax(logits: Float64Array) -> Float64Array:
    # 1/d over a small temperature overflows exp() without the shift.
    shifted: Float64Array = np.exp(logits - logits.max())
    shifted /= shifted.sum()
    return shifted
