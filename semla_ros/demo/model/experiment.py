"""The held-out experiment: five strategies on the same images, one confusion matrix a domain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from tqdm import tqdm

from semla_ros.core.types import AdapterMix, UInt8Array
from semla_ros.data.metrics import class_iou, frame_counts, harmonic_mean, mean_iou
from semla_ros.demo.model.scenes import DomainScenes
from semla_ros.demo.world import CLASSES
from semla_ros.library.retrieval import RetrievalSettings, retrieve
from semla_ros.prepare.training.runner import Runner

STRATEGIES = ("zero-shot", "uniform", "semla-loo", "semla", "oracle")
"""Base alone; all foreign adapters equally; SemLA without the target's own; SemLA; own alone."""

MixOf = Callable[[str, UInt8Array], AdapterMix]


@dataclass(frozen=True, slots=True)
class SeedScores:
    """Scores of one disjoint test set.

    Attributes:
        miou: Strategy -> domain -> mIoU in percent.
        iou: Strategy -> domain -> IoU per class in percent, NaN for classes that do not occur.
    """

    miou: dict[str, dict[str, float]]
    iou: dict[str, dict[str, tuple[float, ...]]]

    def h_mean(self, strategy: str) -> float:
        """Return the harmonic mean over domains, percent."""
        return harmonic_mean(list(self.miou[strategy].values()))


def mixes(runner: Runner, settings: RetrievalSettings) -> dict[str, MixOf]:
    """Return strategy -> (target domain, image) -> mix."""
    names = runner.library.names

    def semla(exclude: frozenset[str], rgb: UInt8Array) -> AdapterMix:
        chosen = replace(settings, exclude=exclude)
        return retrieve(names, runner.distances(runner.embed(rgb)), settings=chosen)

    return {
        "zero-shot": lambda _, __: AdapterMix.base_only(),
        "uniform": lambda d, _: AdapterMix.from_weights({n: 1.0 for n in names if n != d}),
        "semla-loo": lambda d, rgb: semla(frozenset({d}), rgb),
        "semla": lambda _, rgb: semla(frozenset(), rgb),
        "oracle": lambda d, _: AdapterMix((d,), (1.0,)),
    }


def score(
    runner: Runner,
    scenes: Sequence[DomainScenes],
    settings: RetrievalSettings,
    *,
    strategies: Sequence[str] = STRATEGIES,
    others: Mapping[str, MixOf] = MappingProxyType({}),
    title: str = "evaluate",
) -> SeedScores:
    """Return the scores of `strategies`, of `STRATEGIES` and `others`, on `scenes`."""
    mix_of = {**mixes(runner, settings), **others}
    miou: dict[str, dict[str, float]] = {s: {} for s in strategies}
    iou: dict[str, dict[str, tuple[float, ...]]] = {s: {} for s in strategies}
    total = len(strategies) * sum(len(d.images) for d in scenes)
    with tqdm(total=total, desc=title, mininterval=5.0) as bar:
        for strategy in strategies:
            for domain in scenes:
                counts = np.zeros((3, len(CLASSES)), np.int64)
                for rgb, labels in zip(domain.images.rgb, domain.images.labels, strict=True):
                    mix = mix_of[strategy](domain.domain, rgb)
                    mask = runner.segment(rgb, mix)
                    counts += frame_counts(labels, mask, classes=len(CLASSES))
                    bar.update()
                miou[strategy][domain.domain] = 100 * float(mean_iou(counts))
                iou[strategy][domain.domain] = tuple(float(100 * v) for v in class_iou(counts))
    return SeedScores(miou, iou)


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and standard deviation (n - 1) over test sets; spread 0 for a single one."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return float(np.mean(values)), spread


def spread_cell(values: Sequence[float]) -> str:
    """Return mean and spread as a table shows them, `33.1 ± 0.6`; of one value that alone."""
    mean, spread = mean_and_spread(values)
    return f"{mean:.1f} ± {spread:.1f}" if len(values) > 1 else f"{mean:.1f}"
