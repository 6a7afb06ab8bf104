"""Train the demo's CLIP on all weather and its CAT-Seg on clear days alone."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from semla_ros.bundle import NavigatorSpec
from semla_ros.demo.model.recipe import TEMPLATE, Recipe
from semla_ros.demo.model.scenes import DomainScenes
from semla_ros.demo.world import CLASSES, SYNONYMS
from semla_ros.navigator.preprocess import preprocess
from semla_ros.navigator.prompts import PromptEmbeddings
from semla_ros.network.catseg import CatSeg
from semla_ros.network.checkpoint import create_catseg
from semla_ros.network.clip import clip_state_from_open_clip
from semla_ros.network.config import CatSegConfig
from semla_ros.prepare.bundler.clip import create_clip
from semla_ros.prepare.bundler.prompt_sets import embed_prompts, read_prompt_set
from semla_ros.prepare.bundler.tokenizer import clip_tokenizer, learn_merges
from semla_ros.prepare.bundler.writer import state_identity
from semla_ros.prepare.training.alignment import align_dense
from semla_ros.prepare.training.contrastive import Captioned, train_clip
from semla_ros.prepare.training.hardware import CPU, Hardware
from semla_ros.prepare.training.networks import CatSegNetwork
from semla_ros.prepare.training.objective import Objective, Prompts
from semla_ros.prepare.training.samples import LabelledImages
from semla_ros.prepare.training.schedule import full_groups
from semla_ros.prepare.training.steps import Problem
from semla_ros.prepare.training.trainer import RunOptions, train

logger = logging.getLogger(__name__)

PROMPTS = "demo"
"""The list of prompts in config/prompts that the small CLIP has the words for."""

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def train_tokenizer(scenes: Sequence[DomainScenes], *, vocab_size: int) -> Tokenizer:
    """Return a CLIP tokenizer of at most `vocab_size` tokens, learnt on captions and prompts."""
    captions = [text for domain in scenes for texts in domain.captions for text in texts]
    prompts = [TEMPLATE.format(word) for words in SYNONYMS.values() for word in words]
    return clip_tokenizer(learn_merges([*captions, *prompts], count=vocab_size - 514))


def encode_texts(tokenizer: Tokenizer, texts: Sequence[str], *, length: int) -> Tensor:
    """Return token ids (T, length) int64, zero-padded, the end mark always kept."""
    tokens = torch.zeros(len(texts), length, dtype=torch.int64)
    for row, text in enumerate(texts):
        ids = tokenizer.encode(text).ids
        ids = [*ids[: length - 1], ids[-1]] if len(ids) > length else ids
        tokens[row, : len(ids)] = torch.tensor(ids)
    return tokens


def class_prompts(tokenizer: Tokenizer, *, synonyms: bool) -> Prompts:
    """Return a source of class prompts; with `synonyms` every step draws other words."""

    def draw(rng: np.random.Generator) -> Tensor:
        words = [str(rng.choice(SYNONYMS[c])) if synonyms else c for c in CLASSES]
        texts = [TEMPLATE.format(word) for word in words]
        longest = max(len(tokenizer.encode(text).ids) for text in texts)
        return encode_texts(tokenizer, texts, length=longest)

    return draw


def train_navigator(scenes: Sequence[DomainScenes], tokenizer: Tokenizer, recipe: Recipe) -> Any:  # noqa: ANN401  an open_clip model
    """Return the small CLIP trained on every domain's images and captions."""
    size = recipe.clip_size
    spec = navigator_spec("untrained", image_size=size.image_size, dim=size.embed_dim)
    images = [preprocess(rgb, spec)[0] for d in scenes for rgb in d.images.rgb]
    captions = [texts for domain in scenes for texts in domain.captions]
    tokens = [encode_texts(tokenizer, texts, length=size.context_length) for texts in captions]
    data = Captioned(torch.from_numpy(np.stack(images)), torch.stack(tokens))
    clip = create_clip(size, seed=recipe.clip.seed)
    loss = train_clip(clip, data, recipe.clip)
    logger.info("CLIP: contrastive loss %.3f", loss)
    return clip


def navigator_spec(identity: str, *, image_size: int, dim: int) -> NavigatorSpec:
    """Return the preprocessing of the demo's navigator: OpenAI CLIP's, at a smaller size."""
    return NavigatorSpec(
        identity=identity,
        size=image_size,
        resize="center_crop",
        mean=CLIP_MEAN,
        std=CLIP_STD,
        dim=dim,
    )


def trained_spec(clip: Any, recipe: Recipe) -> NavigatorSpec:  # noqa: ANN401
    """Return the navigator's manifest entry, its identity tied to the trained weights."""
    size = recipe.clip_size
    identity = state_identity(clip.visual.state_dict(), prefix="semla-demo-clip")
    return navigator_spec(identity, image_size=size.image_size, dim=size.embed_dim)


def demo_prompts(clip: Any, tokenizer: Tokenizer, recipe: Recipe) -> PromptEmbeddings:  # noqa: ANN401
    """Return the words that the demo's CLIP knows, in the space of its image tower."""
    length = recipe.clip_size.context_length

    def encode(texts: Sequence[str]) -> Tensor:
        features: Tensor = clip.encode_text(encode_texts(tokenizer, texts, length=length))
        return features

    identity = trained_spec(clip, recipe).identity
    return embed_prompts(read_prompt_set(PROMPTS), encode, encoder=identity)


def base_config(clip: Any, recipe: Recipe) -> CatSegConfig:  # noqa: ANN401
    """Return the small CAT-Seg around the demo's CLIP, at twice its training resolution."""
    shapes = {k: tuple(v.shape) for k, v in clip_state_from_open_clip(clip.state_dict()).items()}
    return CatSegConfig.from_clip(
        shapes,
        resolution=2 * recipe.clip_size.image_size,
        crop_size=2 * recipe.clip_size.image_size,
        tap_dims=(32, 16),
        aggregator_layers=1,
        hidden_dim=32,
        appearance_dim=32,
        text_guidance_dim=32,
        decoder_dims=(16, 8),
        decoder_guidance_dims=(8, 8),
    )


def train_base(
    clip: Any,  # noqa: ANN401
    source: LabelledImages,
    tokenizer: Tokenizer,
    recipe: Recipe,
) -> CatSeg:
    """Return CAT-Seg, started from the demo's CLIP and trained on `source`, all weights free."""
    model = create_catseg(base_config(clip, recipe), seed=recipe.base.seed)
    model.clip.load_state_dict(clip_state_from_open_clip(clip.state_dict()))
    prompts = class_prompts(tokenizer, synonyms=True)
    aligned = align_dense(model, source, prompts, recipe.align)
    problem = Problem(
        objective=Objective(CatSegNetwork(model), balance=recipe.base.balance),
        parameters=dict(model.named_parameters()),
        groups=full_groups(model.parameters(), recipe.base.weight_decay),
        train=source,
        held_out=(),
        prompts=prompts,
        tokens=prompts(np.random.default_rng(recipe.base.seed)),
    )
    done = train(problem, recipe.base, RunOptions(Hardware(CPU), title="base network"))
    loss = done.scores[-1].loss
    logger.info("base network: alignment loss %.4f, then pixel loss %.4f", aligned, loss)
    return model.eval()
