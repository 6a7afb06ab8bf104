"""What words alone are worth: each domain segmented by what its captions say of the others."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from semla_ros.core.types import AdapterMix, UInt8Array
from semla_ros.demo.model.experiment import MixOf, score
from semla_ros.demo.model.scenes import DomainScenes
from semla_ros.evaluation.study.text_strategies import Words, words_of
from semla_ros.library.retrieval import RetrievalSettings, retrieve
from semla_ros.prepare.training.runner import Runner

logger = logging.getLogger(__name__)

TEMPERATURES = (0.02, 0.05, 0.1, 0.2, 0.4)
"""To try."""
SCORED_EVERY = 3
"""Only every so many validation scenes are segmented."""


def text_temperature(
    runner: Runner, scenes: Sequence[DomainScenes], settings: RetrievalSettings
) -> float:
    """Return the temperature of `TEMPERATURES` with the best h-mean, the own adapter left out."""
    words = words_of(runner.bundle, runner.library)
    few = [domain.every(SCORED_EVERY) for domain in scenes]
    found: dict[float, float] = {}
    for temperature in TEMPERATURES:
        warm = {d: replace(prior, temperature=temperature) for d, prior in words.items()}
        others = {"text": by_words(runner.library.names, settings, warm)}
        result = score(runner, few, settings, strategies=("text",), others=others, title="words")
        found[temperature] = result.h_mean("text")
        logger.info("text temperature %g: h-mean %.2f", temperature, found[temperature])
    return max(found, key=lambda temperature: found[temperature])


def by_words(names: Sequence[str], settings: RetrievalSettings, words: Words) -> MixOf:
    """Return what picks adapters by a domain's own words, its own adapter left out."""

    def choose(domain: str, _: UInt8Array) -> AdapterMix:
        chosen = replace(settings, exclude=frozenset({domain}))
        return retrieve(
            names, np.ones(len(names)), settings=chosen, prior=words[domain], share=1.0
        )

    return choose
