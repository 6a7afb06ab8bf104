"""Mixes from words alone: what each domain's own captions say of the other adapters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from semla_ros.bundle import ModelBundle
from semla_ros.core.errors import EmptyLibraryError
from semla_ros.core.types import AdapterMix
from semla_ros.evaluation.study.observation import Observation
from semla_ros.library.library import AdapterLibrary
from semla_ros.library.neutral_texts import NEUTRAL_TEXTS
from semla_ros.library.retrieval import RetrievalSettings, retrieve
from semla_ros.library.text_prior import Descriptions, TextPrior
from semla_ros.navigator.text_encoder import OnnxTextEncoder

TEXT, TEXT_NEAREST, TEXT_SHUFFLED = "text", "text-nearest", "text-shuffled"
"""Names of strategies: the adapters that the captions of the frame's domain speak of; the nearest
one alone; the same with the adapters' descriptions permuted, a control. With `--leave-out domain`
the domain's own adapter takes no part.
"""
TEXT_STRATEGIES = (TEXT, TEXT_NEAREST, TEXT_SHUFFLED)
_SEED = 0

Words = Mapping[str, TextPrior]
"""Domain -> what its own captions say."""

NO_WORDS: Words = MappingProxyType({})


def words_of(bundle: ModelBundle, library: AdapterLibrary) -> dict[str, TextPrior]:
    """Return what the captions of every domain of the library say.

    Raises:
        BundleError: The bundle's navigator reads no text.
        LibraryError: Too few adapters have captions.
    """
    encoder = OnnxTextEncoder(bundle)
    embedded = {name: encoder.encode(each) for name, each in library.captions.items()}
    descriptions = Descriptions.of(embedded, encoder.encode(NEUTRAL_TEXTS))
    temperature = bundle.manifest.defaults.text_temperature
    return {
        name: descriptions.likeness(
            "; ".join(library.captions[name]), rows.mean(axis=0), temperature=temperature
        )
        for name, rows in embedded.items()
    }


def text_mix(
    names: Sequence[str], seen: Observation, settings: RetrievalSettings, words: Words
) -> AdapterMix | None:
    """Return the adapters that the words of the frame's domain speak of, None without any.

    Source: SG-LoRA (CVPR 2026), "Top-K LoRA Weighted", with texts as conditions.
    """
    domain = next((n for n in words if n.lower() == seen.domain.lower()), None)
    if domain is None:
        return None
    allowed = replace(settings, exclude=settings.exclude | seen.excluded)
    try:
        return retrieve(
            names, np.ones(len(names)), settings=allowed, prior=words[domain], share=1.0
        )
    except EmptyLibraryError:
        return AdapterMix.base_only()


def nearest_mix(
    names: Sequence[str], seen: Observation, settings: RetrievalSettings, words: Words
) -> AdapterMix | None:
    """Return the one adapter that is described most alike."""
    return text_mix(names, seen, replace(settings, top_k=1, null_distance=-1.0), words)


def shuffled(words: Words, *, seed: int = _SEED) -> dict[str, TextPrior]:
    """Return `words` as if the adapters' descriptions had been permuted."""
    names = tuple(words)
    order = np.random.default_rng(seed).permutation(len(names))
    taken = {name: names[i] for name, i in zip(names, order, strict=True)}
    return {
        domain: replace(prior, cosines={n: prior.cosines[taken[n]] for n in names})
        for domain, prior in words.items()
    }
