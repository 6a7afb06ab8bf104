"""Tasks for a CLIP: kinds of things in kinds of weather, images with captions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from semla_ros.bench.generation.scenes import (
    TEST,
    THINGS,
    TRAIN,
    CaptionedScenes,
    captioned_scenes,
)
from semla_ros.demo.world import DOMAINS, domain_captions
from semla_ros.navigator.text_encoder import TextEncoder


@dataclass(frozen=True, slots=True)
class Pairs:
    """Images (N, 3, S, S) with unit embeddings of their captions (N, C, D)."""

    images: Tensor
    texts: Tensor


@dataclass(frozen=True, slots=True)
class ClipTask:
    """A kind of thing in a kind of place.

    Attributes:
        domain, thing: Of the demo world.
        train, test: To learn from, to be judged by; no scene is in both.
    """

    domain: str
    thing: str
    train: Pairs
    test: Pairs

    @property
    def name(self) -> str:
        """Of the task."""
        return f"{self.thing} {self.domain}"


def descriptions(domain: str, thing: str) -> dict[str, tuple[str, ...]]:
    """Return wording -> sentences that describe a task."""
    places, things = domain_captions(domain), THINGS[thing]
    return {
        "thing": (f"a photo of {things}",),
        "place": places[:1],
        "place and thing": (f"{places[0]} with {things}",),
        "four sentences": tuple(f"{place} with {things}" for place in places),
    }


def clip_tasks(text: TextEncoder, folder: Path) -> tuple[ClipTask, ...]:
    """Return all tasks; what was rendered is kept in `folder`."""
    found = []
    for domain in DOMAINS:
        scenes = {split: captioned_scenes(domain, split, folder) for split in (TRAIN, TEST)}
        for number, thing in enumerate(THINGS):
            train, test = (_pairs(scenes[split].showing(number), text) for split in (TRAIN, TEST))
            found.append(ClipTask(domain, thing, train, test))
    return tuple(found)


def _pairs(scenes: CaptionedScenes, text: TextEncoder) -> Pairs:
    return Pairs(torch.from_numpy(scenes.images), scenes.texts(text))
