"""Tasks for a CLIP: kinds of things in kinds of weather, images with captions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from semla_ros.bench.generation.clip_tower import ImageTower
from semla_ros.core.files.npz_file import npz_content, read_arrays
from semla_ros.core.types import Float32Array, Float64Array
from semla_ros.demo.model.scenes import render_domain
from semla_ros.demo.world import CLASSES, DOMAINS, domain_captions
from semla_ros.evaluation.study.study import StrArray
from semla_ros.navigator.text_encoder import TextEncoder

THINGS = {"car": "cars", "building": "houses", "vegetation": "trees"}
"""Class -> how a description calls many of them."""
CAPTIONS = 4
TRAIN, TEST = "train", "test"
COUNTS = {TRAIN: 72, TEST: 60}
"""Scenes of each domain; a third of them shows most of each thing."""
SIZE = (96, 160)
"""Rendered height and width: the tower sees 64 pixels of it."""
_FIRST_SEED = {TRAIN: 30_000_000, TEST: 40_000_000}
"""Scenes that no part of the demo model was made with."""
_MAX_BYTES = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Scenes:
    """Scenes of one domain as the tower sees them.

    Attributes:
        images: (N, 3, S, S) float32, normalised.
        shares: (N, T) float64, how much of each scene shows each of `THINGS`.
        captions: (N, C).
    """

    images: Float32Array
    shares: Float64Array
    captions: StrArray


@dataclass(frozen=True, slots=True)
class Pairs:
    """Images (N, 3, S, S) with unit embeddings of their captions (N, C, D), and the captions."""

    images: Tensor
    texts: Tensor
    captions: StrArray


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


def clip_tasks(tower: ImageTower, text: TextEncoder, folder: Path) -> tuple[ClipTask, ...]:
    """Return all tasks; what was rendered is kept in `folder`."""
    found = []
    for domain in DOMAINS:
        scenes = {split: _scenes(tower, domain, split, folder) for split in (TRAIN, TEST)}
        for number, thing in enumerate(THINGS):
            train, test = (_pairs(scenes[split], number, text) for split in (TRAIN, TEST))
            found.append(ClipTask(domain, thing, train, test))
    return tuple(found)


def _scenes(tower: ImageTower, domain: str, split: str, folder: Path) -> Scenes:
    path = folder / f"{domain}-{split}-{COUNTS[split]}.npz"
    if not path.is_file():
        made = render_domain(
            domain,
            first_seed=_FIRST_SEED[split],
            count=COUNTS[split],
            captions=CAPTIONS,
            size=SIZE,
            title=split,
        )
        labels = made.images.labels
        shares = [(labels == CLASSES.index(t)).mean(axis=(1, 2)) for t in THINGS]
        arrays = {
            "images": tower.images(list(made.images.rgb)).numpy(),
            "shares": np.stack(shares, axis=1),
            "captions": np.asarray(made.captions),
        }
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_bytes(npz_content(arrays))
        part.rename(path)
    read = read_arrays(path, max_bytes=_MAX_BYTES)
    return Scenes(
        read["images"].astype(np.float32),
        read["shares"].astype(np.float64),
        read["captions"].astype(np.str_),
    )


def _pairs(scenes: Scenes, thing: int, text: TextEncoder) -> Pairs:
    """Return the third of `scenes` that shows most of a thing."""
    share = scenes.shares[:, thing]
    chosen = np.sort(np.argsort(-share, kind="stable")[: len(share) // len(THINGS)])
    captions = scenes.captions[chosen]
    embedded = [text.encode(each.tolist()) for each in captions]
    return Pairs(
        torch.from_numpy(scenes.images[chosen]), torch.from_numpy(np.stack(embedded)), captions
    )
