"""Small real things for tests: a tiny bundle with random weights, frames, adapters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semla_ros.bundle import (
    AdaptationDefaults,
    Manifest,
    ModelBundle,
    NavigatorSpec,
    SegmentationSpec,
    TextSpec,
)
from semla_ros.core.types import Frame, LoraAdapter, LoraLayer, Vocabulary
from semla_ros.network.config import CatSegConfig

if TYPE_CHECKING:
    from semla_ros.network.catseg import CatSeg

TINY_CLASSES = ("road", "car", "sky", "tree")
TINY_DOMAINS = ("fog", "night", "rain")
TINY_SIZE = 32


def fake_frame(
    stamp_ns: int = 0, *, size: tuple[int, int] = (24, 40), seed: int = 0, frame_id: str = "camera"
) -> Frame:
    """Return a frame of seeded noise."""
    rng = np.random.default_rng(seed)
    return Frame(stamp_ns, frame_id, rng.integers(0, 256, (*size, 3), dtype=np.uint8))


def fake_adapter(
    name: str, shapes: dict[str, tuple[int, int]], *, rank: int = 4, seed: int = 0
) -> LoraAdapter:
    """Return an adapter with random factors for layers of shape (out, in)."""
    rng = np.random.default_rng(seed)
    layers = {
        layer: LoraLayer(
            rng.standard_normal((rank, shape[1]), dtype=np.float32) / np.float32(shape[1] ** 0.5),
            rng.standard_normal((shape[0], rank), dtype=np.float32) * np.float32(0.1),
            2.0,
        )
        for layer, shape in shapes.items()
    }
    return LoraAdapter(name, layers)


def tiny_vocabulary(names: Sequence[str] = TINY_CLASSES) -> Vocabulary:
    """Return a vocabulary with made-up colours."""
    colors = np.random.default_rng(1).integers(0, 256, (len(names), 3), dtype=np.uint8)
    return Vocabulary(tuple(names), colors)


def tiny_config(**changes: Any) -> CatSegConfig:
    """Return the sizes of a network of 32 px that is made at once, with `changes`."""
    sizes: dict[str, Any] = {
        "resolution": TINY_SIZE,
        "patch": 8,
        "position_grid": 4,
        "vision_width": 64,
        "vision_layers": 3,
        "vision_heads": 1,
        "embed_dim": 32,
        "text_width": 64,
        "text_layers": 2,
        "text_heads": 1,
        "taps": (0, 1),
        "tap_dims": (8, 8),
        "hidden_dim": 16,
        "aggregator_layers": 1,
        "window": 2,
        "appearance_dim": 8,
        "text_guidance_dim": 8,
        "decoder_dims": (8, 8),
        "decoder_guidance_dims": (4, 4),
        "crop_size": TINY_SIZE,
    }
    return CatSegConfig(**(sizes | changes))


def small_config(**changes: Any) -> CatSegConfig:
    """Return the sizes of a network of 64 px with two aggregator layers, with `changes`."""
    sizes: dict[str, Any] = {
        "resolution": 64,
        "vision_layers": 4,
        "vocab_size": 100,
        "context_length": 12,
        "tap_dims": (16, 8),
        "aggregator_layers": 2,
        "window": 4,
        "appearance_dim": 12,
        "decoder_dims": (16, 8),
        "decoder_guidance_dims": (8, 4),
        "crop_size": 64,
    }
    return tiny_config(**(sizes | changes))


def tiny_manifest(**changes: Any) -> Manifest:
    """Return what a bundle says of itself, with `changes`."""
    fields: dict[str, Any] = {
        "name": "tiny",
        "family": "catseg",
        "base_model": "x",
        "segmentation": SegmentationSpec(32),
        "text": TextSpec("a {}", 8),
        "navigator": None,
        "vocabulary": Vocabulary(("road",), np.zeros((1, 3), np.uint8)),
        "defaults": AdaptationDefaults(0.05, 5, "euclidean", "inverse", -1.0, 0.1, 9.0),
        "layers": (),
        "files": {},
    }
    return Manifest(**(fields | changes))


def with_taps(model: CatSeg, taps: tuple[int, int]) -> CatSeg:
    """Return a copy of `model` whose decoder reads the outputs of visual blocks `taps`."""
    changed = type(model)(replace(model.config, taps=taps))
    changed.load_state_dict(model.state_dict())
    return changed.train(model.training)


def tiny_bundle(out: Path, *, domains: Sequence[str] = TINY_DOMAINS, seed: int = 0) -> ModelBundle:
    """Return a real bundle, seconds to make: a random 32 px CAT-Seg, navigator and adapters.

    Needs torch and onnx.
    """
    import torch

    from semla_ros.library.statistics import DomainStatistics
    from semla_ros.network.checkpoint import create_catseg
    from semla_ros.prepare.adapters.write import write_adapter, write_statistics
    from semla_ros.prepare.bundler.navigator_parts import NavigatorParts
    from semla_ros.prepare.bundler.tokenizer import clip_tokenizer, learn_merges
    from semla_ros.prepare.bundler.writer import BundleParts, base_identity, write_bundle

    tokenizer = clip_tokenizer(learn_merges(["a photo of a car and a tree"], count=20))
    config = tiny_config(vocab_size=tokenizer.get_vocab_size(), context_length=40)
    model = create_catseg(config, seed=seed).eval()
    navigator = torch.nn.Sequential(torch.nn.AvgPool2d(4), torch.nn.Flatten())
    spec = NavigatorSpec("tiny", 16, "center_crop", (0.5,) * 3, (0.25,) * 3, 48)
    parts = BundleParts(
        name="tiny",
        model=model,
        tokenizer_json=tokenizer.to_str(),
        text=TextSpec("A photo of a {} in the scene", config.context_length),
        navigator=NavigatorParts(navigator, spec),
        vocabulary=tiny_vocabulary(),
        defaults=AdaptationDefaults(0.05, 2, "euclidean", "inverse", -1.0, 0.05, 1000.0),
    )
    bundle = write_bundle(out, parts)
    shapes = {layer.name: layer.shape for layer in bundle.manifest.layers}
    rng = np.random.default_rng(seed)
    for number, domain in enumerate(domains):
        adapter = fake_adapter(domain, shapes, seed=number)
        folder = bundle.library / domain
        write_adapter(folder, LoraAdapter(domain, adapter.layers, base_identity(model)), alpha=8.0)
        centroid = rng.standard_normal(spec.dim).astype(np.float32)
        write_statistics(
            folder, domain, DomainStatistics(centroid=centroid, count=10, encoder=spec.identity)
        )
    return bundle
