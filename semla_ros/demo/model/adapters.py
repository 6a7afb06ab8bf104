"""Train the demo's library: one adapter and one centroid per domain, in SemLA's layout."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from semla_ros.demo.model.networks import class_prompts
from semla_ros.demo.model.recipe import Recipe
from semla_ros.demo.model.scenes import DomainScenes
from semla_ros.library.statistics import DistanceQuantiles, DomainStatistics
from semla_ros.navigator.encoder import ImageEncoder
from semla_ros.network.catseg import CatSeg
from semla_ros.prepare.adapters.seals import reseal_file, write_seal
from semla_ros.prepare.adapters.write import write_adapter, write_statistics
from semla_ros.prepare.bundler.writer import base_identity, live_layers
from semla_ros.prepare.curation.spread import sample_of
from semla_ros.prepare.training.lora import LoraOptions, train_adapter
from semla_ros.prepare.training.samples import LabelledImages

logger = logging.getLogger(__name__)

QUANTILES = np.asarray([0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0])


def train_library(
    model: CatSeg,
    scenes: Sequence[DomainScenes],
    tokenizer: Tokenizer,
    recipe: Recipe,
    *,
    out: Path,
) -> None:
    """Write one adapter per domain below `out`; every domain starts from the same base."""
    layers = [layer.name for layer in live_layers(model)]
    base = base_identity(model)
    lora = LoraOptions()
    for number, domain in enumerate(scenes):
        folder = out / domain.domain
        adapter = train_adapter(
            model,
            layers,
            domain.images,
            class_prompts(tokenizer, synonyms=True),
            name=domain.domain,
            base_model=base,
            options=recipe.adapter_options(number, domain.domain),
            lora=lora,
        )
        write_adapter(folder, adapter, alpha=lora.alpha)
        write_seal(folder)


def domain_statistics(encoder: ImageEncoder, source: LabelledImages) -> DomainStatistics:
    """Return centroid, covariance, own-domain distances and a sample of the images of `source`.

    Source: SemLA; the centroid is the plain mean of embeddings that are not normalised.
    """
    embeddings = np.stack([encoder.encode(source[i][0]) for i in range(len(source))])
    centroid = embeddings.mean(axis=0, dtype=np.float64)
    distances = np.linalg.norm(embeddings - centroid, axis=1)
    return DomainStatistics(
        centroid=centroid.astype(np.float32),
        count=len(embeddings),
        covariance=np.cov(embeddings.T.astype(np.float64)),
        encoder=encoder.identity,
        quantiles=DistanceQuantiles(QUANTILES, np.quantile(distances, QUANTILES)),
        sample=sample_of(lambda: iter([embeddings]), count=len(embeddings)),
    )


def write_centroids(encoder: ImageEncoder, scenes: Sequence[DomainScenes], *, out: Path) -> None:
    """Write `<domain>_statistics.npz` beside each adapter below `out`, and into its seal."""
    for domain in scenes:
        statistics = domain_statistics(encoder, domain.images)
        reseal_file(write_statistics(out / domain.domain, domain.domain, statistics))
