"""Captioned scenes of the demo world, as a small CLIP sees them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from semla_ros.core.files.npz_file import npz_content, read_arrays
from semla_ros.core.types import Float32Array, Float64Array
from semla_ros.demo.model.networks import navigator_spec
from semla_ros.demo.model.scenes import render_domain
from semla_ros.demo.world import CLASSES
from semla_ros.evaluation.study.study import StrArray
from semla_ros.navigator.preprocess import preprocess
from semla_ros.navigator.text_encoder import TextEncoder
from semla_ros.prepare.bundler.clip import ClipSize

THINGS = {"car": "cars", "building": "houses", "vegetation": "trees"}
"""Class -> how a description calls many of them."""
CAPTIONS = 4
SIZE = (96, 160)
"""Rendered height and width: the tower sees its middle at 64 pixels."""
TRAIN, TEST, NOVICE = "train", "test", "novice"
COUNTS = {TRAIN: 72, TEST: 60, NOVICE: 150}
"""Scenes of each domain; for a task, the third of them that shows most of its thing."""
_FIRST_SEED = {TRAIN: 30_000_000, TEST: 40_000_000, NOVICE: 50_000_000}
"""Scenes that no part of the demo model was made with."""
_MAX_BYTES = 1_000_000_000


@dataclass(frozen=True, slots=True)
class CaptionedScenes:
    """Scenes of one domain.

    Attributes:
        images: (N, 3, S, S) float32, normalised.
        shares: (N, T) float64, how much of each scene shows each of `THINGS`.
        captions: (N, C).
    """

    images: Float32Array
    shares: Float64Array
    captions: StrArray

    def texts(self, text: TextEncoder) -> Tensor:
        """Return the unit embeddings (N, C, D) of the captions."""
        return torch.from_numpy(np.stack([text.encode(each.tolist()) for each in self.captions]))

    def showing(self, thing: int) -> CaptionedScenes:
        """Return the share 1/T of the scenes that shows most of a thing."""
        share = self.shares[:, thing]
        kept = np.sort(np.argsort(-share, kind="stable")[: len(share) // len(THINGS)])
        return CaptionedScenes(self.images[kept], self.shares[kept], self.captions[kept])


def captioned_scenes(domain: str, split: str, folder: Path) -> CaptionedScenes:
    """Return the scenes of a domain; what was rendered is kept in `folder`."""
    path = folder / f"{domain}-{split}-{COUNTS[split]}.npz"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_bytes(npz_content(_rendered(domain, split)))
        part.rename(path)
    read = read_arrays(path, max_bytes=_MAX_BYTES)
    return CaptionedScenes(
        read["images"].astype(np.float32),
        read["shares"].astype(np.float64),
        read["captions"].astype(np.str_),
    )


def _rendered(domain: str, split: str) -> dict[str, np.ndarray]:
    made = render_domain(
        domain,
        first_seed=_FIRST_SEED[split],
        count=COUNTS[split],
        captions=CAPTIONS,
        size=SIZE,
        title=split,
    )
    size = ClipSize()
    spec = navigator_spec("novice", image_size=size.image_size, dim=size.embed_dim)
    shares = [(made.images.labels == CLASSES.index(t)).mean(axis=(1, 2)) for t in THINGS]
    return {
        "images": np.concatenate([preprocess(rgb, spec) for rgb in made.images.rgb]),
        "shares": np.stack(shares, axis=1),
        "captions": np.asarray(made.captions),
    }
