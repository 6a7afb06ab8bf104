"""Train the demo's library: one adapter and one centroid per domain, in SemLA's layout."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semla_ros.core.types import Float32Array, LoraAdapter
from semla_ros.demo.model.recipe import Recipe
from semla_ros.demo.model.scenes import DomainScenes
from semla_ros.demo.world import domain_captions
from semla_ros.library.statistics import DistanceQuantiles, DomainStatistics
from semla_ros.navigator.encoder import ImageEncoder
from semla_ros.prepare.adapters.captioning import write_captions
from semla_ros.prepare.adapters.seals import reseal_file, write_seal
from semla_ros.prepare.adapters.write import write_adapter, write_statistics
from semla_ros.prepare.curation.spread import sample_of
from semla_ros.prepare.training.hardware import CPU, Hardware
from semla_ros.prepare.training.initial import Start, start_of
from semla_ros.prepare.training.low_rank import adapter_of, attached
from semla_ros.prepare.training.networks import TrainedNetwork
from semla_ros.prepare.training.objective import Objective, Prompts
from semla_ros.prepare.training.recipe import Recipe as Training
from semla_ros.prepare.training.samples import LabelledImages
from semla_ros.prepare.training.steps import Problem
from semla_ros.prepare.training.trainer import RunOptions, train

logger = logging.getLogger(__name__)

QUANTILES = np.asarray([0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0])


@dataclass(frozen=True, slots=True)
class Base:
    """What adapters are trained on.

    Attributes:
        network: Left as it came.
        layers: That adapters change.
        identity: Adapters carry it.
    """

    network: TrainedNetwork
    layers: tuple[str, ...]
    identity: str


def train_library(
    base: Base,
    scenes: Sequence[DomainScenes],
    prompts: Prompts,
    recipe: Recipe,
    *,
    out: Path,
) -> None:
    """Write one adapter per domain below `out`; every domain starts from the same base."""
    for number, domain in enumerate(scenes):
        training = recipe.adapter_recipe(number)
        adapter = _trained(base, domain, prompts, training)
        write_adapter(out / domain.domain, adapter, alpha=training.alpha)
        write_seal(out / domain.domain)
        write_captions(out / domain.domain, domain_captions(domain.domain))


def _trained(
    base: Base, domain: DomainScenes, prompts: Prompts, training: Training
) -> LoraAdapter:
    """Return an adapter of all layers; the network is left as it came."""
    rng = np.random.default_rng(training.seed)

    def start(_: str, weight: Float32Array) -> Start:
        return start_of(training.init, weight, training.ranks, alpha=training.alpha, rng=rng)

    with attached(base.network.model, base.layers, start) as changes:
        problem = Problem(
            objective=Objective(
                base.network, balance=training.balance, changes=changes.changes.values()
            ),
            parameters=changes.parameters(),
            groups=changes.groups(training),
            train=domain.images,
            held_out=(),
            prompts=prompts,
            tokens=prompts(rng),
        )
        train(problem, training, RunOptions(Hardware(CPU), title=f"adapter {domain.domain}"))
        return adapter_of(changes, name=domain.domain, base_model=base.identity)


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
