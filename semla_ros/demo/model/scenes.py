"""Rendered scenes in memory, split by seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from semla_ros.demo.model.recipe import IMAGE_SIZE, SceneSeeds
from semla_ros.demo.world import DOMAINS, caption, conditions_of, render, sample_scene
from semla_ros.prepare.training.samples import ArrayImages

_SET_STRIDE = 1_000_000


@dataclass(frozen=True, slots=True)
class DomainScenes:
    """Rendered scenes of one domain.

    Attributes:
        domain: One of the world's domains.
        images: rgb (N, H, W, 3) and labels (N, H, W).
        captions: For each image, several captions.
    """

    domain: str
    images: ArrayImages
    captions: tuple[tuple[str, ...], ...]

    def every(self, step: int) -> DomainScenes:
        """Return every `step`th of them."""
        images = ArrayImages(self.images.rgb[::step], self.images.labels[::step])
        return DomainScenes(self.domain, images, self.captions[::step])


def render_domain(
    domain: str,
    *,
    first_seed: int,
    count: int,
    captions: int = 0,
    size: tuple[int, int] = IMAGE_SIZE,
    title: str = "render",
) -> DomainScenes:
    """Return `count` scenes of `domain`; scene seeds count up from `first_seed`.

    Each domain gets scenes of its own, offset by the domain's place in the world's list.
    """
    start = first_seed + 100_000 * DOMAINS.index(domain)
    height, width = size
    rgb = np.empty((count, height, width, 3), np.uint8)
    labels = np.empty((count, height, width), np.uint8)
    texts: list[tuple[str, ...]] = []
    for i in tqdm(range(count), desc=f"{title} {domain}", mininterval=5.0):
        rng = np.random.default_rng(start + i)
        conditions = conditions_of(domain, rng)
        image = render(sample_scene(start + i), conditions, size=size, noise_seed=start + i)
        rgb[i], labels[i] = image.rgb, image.labels
        texts.append(tuple(caption(image.labels, conditions, rng) for _ in range(captions)))
    return DomainScenes(domain, ArrayImages(rgb, labels), tuple(texts))


def render_domains(
    *, first_seed: int, count: int, captions: int = 0, title: str, domains: Sequence[str] = DOMAINS
) -> tuple[DomainScenes, ...]:
    """Return `count` scenes of every domain."""
    return tuple(
        render_domain(d, first_seed=first_seed, count=count, captions=captions, title=title)
        for d in domains
    )


def render_test_set(
    number: int, *, count: int, domains: Sequence[str] = DOMAINS
) -> tuple[DomainScenes, ...]:
    """Return `count` test scenes of every domain; sets of different `number` are disjoint."""
    first = SceneSeeds().test + _SET_STRIDE * number
    return render_domains(first_seed=first, count=count, title=f"test {number}", domains=domains)
