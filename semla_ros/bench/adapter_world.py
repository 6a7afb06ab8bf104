"""Frames of the demo world for the experiments on adapters: folders of images and of labels."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from semla_ros.core.types import UInt8Array
from semla_ros.data.tasks import Task, tasks_of
from semla_ros.demo.model.recipe import SceneSeeds
from semla_ros.demo.model.scenes import render_domain

TRAIN, TEST = "train", "test"
_FIRST_SEED = {TRAIN: SceneSeeds().train, TEST: SceneSeeds().test}


@dataclass(frozen=True, slots=True)
class World:
    """Rendered frames below a folder.

    Attributes:
        folder: Where they lie; made where they are missing.
        domains: Of the demo world.
        train, test: Frames of each domain; no scene is in both.
    """

    folder: Path
    domains: tuple[str, ...]
    train: int
    test: int

    def make(self) -> None:
        """Render what is missing; a domain appears when it is whole."""
        for split, count in ((TRAIN, self.train), (TEST, self.test)):
            for domain in self.domains:
                if not (place := self._place(split, domain)).is_dir():
                    _render(place, domain, first_seed=_FIRST_SEED[split], count=count)

    def tasks(self, split: str, domains: Sequence[str] = ()) -> tuple[Task, ...]:
        """Return the labelled recordings of `split`, one for each domain (none: all)."""
        wanted = domains or self.domains
        places = {domain: self._place(split, domain) for domain in wanted}
        return tasks_of(
            [f"{domain}={place / 'images'}" for domain, place in places.items()],
            labels=[f"{domain}={place / 'labels'}" for domain, place in places.items()],
        )

    def frames(self, split: str, domain: str) -> Iterator[tuple[UInt8Array, UInt8Array]]:
        """Yield the images (H, W, 3), RGB, and labels (H, W) of a domain, in order."""
        place = self._place(split, domain)
        for path in sorted((place / "images").iterdir()):
            bgr = np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR), np.uint8)
            labels = cv2.imread(str(place / "labels" / path.name), cv2.IMREAD_GRAYSCALE)
            yield np.ascontiguousarray(bgr[..., ::-1]), np.asarray(labels, np.uint8)

    def _place(self, split: str, domain: str) -> Path:
        count = self.train if split == TRAIN else self.test
        return self.folder / f"{split}-{count}" / domain


def _render(place: Path, domain: str, *, first_seed: int, count: int) -> None:
    part = place.with_name(f".{place.name}")
    shutil.rmtree(part, ignore_errors=True)
    scenes = render_domain(domain, first_seed=first_seed, count=count)
    for kind in ("images", "labels"):
        (part / kind).mkdir(parents=True)
    for i, (rgb, labels) in enumerate(zip(scenes.images.rgb, scenes.images.labels, strict=True)):
        cv2.imwrite(str(part / "images" / f"{i:05d}.png"), rgb[..., ::-1])
        cv2.imwrite(str(part / "labels" / f"{i:05d}.png"), labels)
    part.rename(place)
