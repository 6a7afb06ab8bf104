"""The text half of the demo's navigator, tuned to the image half that serves.

`python -m semla_ros.demo.model.text_half` gives one to a bundle that is there: what embeds images
stays what it is, and so do identity, centroids and thresholds.

Source: Zhai et al., 2022, "LiT: zero-shot transfer with locked-image text tuning".
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from semla_ros.bundle import ModelBundle, file_sha256, open_bundle, write_manifest
from semla_ros.core.errors import BundleError
from semla_ros.demo.model.networks import encode_texts
from semla_ros.demo.model.recipe import CAPTIONS_PER_IMAGE, Recipe
from semla_ros.demo.model.scenes import DomainScenes, render_domains
from semla_ros.demo.world import other_text, short_captions
from semla_ros.demo.world.shapes import pick
from semla_ros.navigator.encoder import ImageEncoder, OnnxImageEncoder
from semla_ros.navigator.text_encoder import ENCODER_KEY
from semla_ros.prepare.bundler.clip import create_clip
from semla_ros.prepare.bundler.onnx_export import export_text_half
from semla_ros.prepare.training.contrastive import contrastive_loss
from semla_ros.prepare.training.descent import descend

FAR = 0.0
"""Cosine to any caption above which a text about something else is pushed away."""


class _TextHalf(torch.nn.Module):
    """CLIP's text tower."""

    def __init__(self, clip: Any) -> None:  # noqa: ANN401  an open_clip model
        super().__init__()
        self.clip = clip

    def forward(self, tokens: Tensor) -> Tensor:
        embedding: Tensor = self.clip.encode_text(tokens)
        return embedding


def add_text_half(
    bundle: ModelBundle, scenes: Sequence[DomainScenes], recipe: Recipe
) -> ModelBundle:
    """Return `bundle` with `navigator_text.onnx`, tuned on the captions of `scenes` and sealed.

    Raises:
        BundleError: It has no navigator, or cannot be written.
    """
    spec, path = bundle.manifest.navigator, bundle.navigator_text
    if spec is None:
        raise BundleError(f"bundle {bundle.manifest.name!r} has no navigator to speak for")
    tokenizer = Tokenizer.from_file(str(bundle.tokenizer))
    images = _embedded(OnnxImageEncoder(bundle, threads=torch.get_num_threads()), scenes)
    half = _TextHalf(_tuned(images, scenes, tokenizer, recipe)).eval()
    length = recipe.clip_size.context_length
    export_text_half(half, path, length=length, metadata={ENCODER_KEY: spec.identity})
    files = dict(sorted({**bundle.manifest.files, path.name: file_sha256(path)}.items()))
    write_manifest(bundle.root, replace(bundle.manifest, files=files))
    return open_bundle(bundle.root, verify=False)


def _embedded(encoder: ImageEncoder, scenes: Sequence[DomainScenes]) -> Tensor:
    """Return unit vectors (N, 2, D) of the images, each also mirrored."""
    rows = [
        np.stack([encoder.encode(rgb), encoder.encode(np.ascontiguousarray(rgb[:, ::-1]))])
        for domain in scenes
        for rgb in domain.images.rgb
    ]
    return torch.nn.functional.normalize(torch.from_numpy(np.stack(rows)), dim=-1)


def _tuned(
    images: Tensor, scenes: Sequence[DomainScenes], tokenizer: Tokenizer, recipe: Recipe
) -> Any:  # noqa: ANN401  an open_clip model
    """Return a CLIP whose text tower was trained against `images`; its image tower was not."""
    options, length = recipe.clip, recipe.clip_size.context_length
    captions = [(texts, short_captions(d.domain)) for d in scenes for texts in d.captions]
    clip = create_clip(recipe.clip_size, seed=options.seed)
    clip.visual.requires_grad_(False)
    rng = np.random.default_rng(options.seed)

    def loss_of_batch() -> Tensor:
        rows = rng.choice(len(images), options.batch_size, replace=False)
        said = [pick(pick(captions[row], rng), rng) for row in rows]
        mirrored = torch.from_numpy(rng.integers(0, 2, options.batch_size))
        others = [other_text(rng) for _ in range(options.batch_size)]
        tokens = encode_texts(tokenizer, [*said, *others], length=length)
        texts, far = clip.encode_text(tokens, normalize=True).chunk(2)
        scale = clip.logit_scale.exp().clamp(max=100.0)
        apart = torch.relu(far @ texts.T - FAR).mean()
        return contrastive_loss(images[torch.from_numpy(rows), mirrored], texts, scale) + apart

    parameters = [p for p in clip.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        parameters, lr=options.learning_rate, weight_decay=options.weight_decay
    )
    descend(clip, loss_of_batch, optimiser, parameters, options)
    return clip


def main() -> None:
    """Give the bundle that the arguments name a text half."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=Path("models/demo"))
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    recipe = Recipe()
    scenes = render_domains(
        first_seed=recipe.seeds.train,
        count=recipe.domain_scenes,
        captions=CAPTIONS_PER_IMAGE,
        title="train",
    )
    add_text_half(open_bundle(options.bundle), scenes, recipe)


if __name__ == "__main__":
    main()
