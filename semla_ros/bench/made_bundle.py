"""A bundle of the published network's size with random weights, for timing alone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from semla_ros.bundle import AdaptationDefaults, GraphWeight, ModelBundle, TextSpec, open_bundle
from semla_ros.core.errors import EngineUnavailableError
from semla_ros.core.types import LoraAdapter, LoraLayer
from semla_ros.core.viz.palette import vocabulary_of
from semla_ros.pipeline import default_bundle
from semla_ros.prepare.adapters.write import write_adapter

if TYPE_CHECKING:
    from semla_ros.network.config import CatSegConfig

BUNDLE, VIT_B = "bundle", "vit-b"
"""What is measured: a bundle as it is, or the published size with random weights."""

CLASSES = (
    *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign"),
    *("vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train"),
    *("motorcycle", "bicycle"),
)
"""Cityscapes' classes."""

ADAPTERS = ("first", "second", "third")
_RANK = 8
_SEED = 0


@contextmanager
def bundle_of(shapes: str, root: Path | None) -> Iterator[ModelBundle]:
    """Yield the bundle in `root` (None: the demo bundle), or a made one where `shapes` says so.

    Raises:
        SemlaError: It cannot be opened or made.
    """
    if shapes == VIT_B:
        with tempfile.TemporaryDirectory(prefix="semla-bench-") as scratch:
            yield make_vit_b(Path(scratch) / "bundle")
    else:
        yield open_bundle(root or default_bundle())


def make_vit_b(folder: Path) -> ModelBundle:
    """Return CAT-Seg B (ViT-B/16, 384 px, 19 classes) with three adapters of rank 8, all random.

    Takes about a minute and 1.5 GB of disk.

    Raises:
        EngineUnavailableError: torch or onnx is missing.
    """
    try:
        from semla_ros.network.config import CatSegConfig

        return random_bundle(folder, CatSegConfig(), name="vit-b of random weights")
    except ModuleNotFoundError as error:
        raise EngineUnavailableError(
            f"making a network needs {error.name!r}: pip install '.[train]'"
        ) from error


def random_bundle(folder: Path, config: CatSegConfig, *, name: str) -> ModelBundle:
    """Return a bundle of a network of `config`'s size with three adapters, all random.

    Its vocabulary must hold the tokens of `CLASSES`, some 700 of them.
    """
    from semla_ros.network.checkpoint import create_catseg
    from semla_ros.prepare.bundler.tokenizer import clip_tokenizer, learn_merges
    from semla_ros.prepare.bundler.writer import BundleParts, base_identity, write_bundle

    tokenizer = clip_tokenizer(learn_merges([f"a photo of a {' '.join(CLASSES)}"], count=200))
    model = create_catseg(config, seed=_SEED).eval()
    parts = BundleParts(
        name=name,
        model=model,
        tokenizer_json=tokenizer.to_str(),
        text=TextSpec("a photo of a {}", config.context_length),
        navigator=None,
        vocabulary=vocabulary_of(CLASSES),
        defaults=AdaptationDefaults(0.05, 2, "euclidean", "inverse", -1.0, 0.05, 1000.0),
    )
    bundle = write_bundle(folder, parts)
    for seed, each in enumerate(ADAPTERS):
        adapter = random_adapter(each, bundle.manifest.layers, rank=_RANK, scaling=2.0, seed=seed)
        adapter = replace(adapter, base_model=base_identity(model))
        write_adapter(bundle.library / each, adapter, alpha=2.0 * _RANK)
    return open_bundle(folder, verify=False)


def random_adapter(
    name: str, layers: Sequence[GraphWeight], *, rank: int, scaling: float, seed: int
) -> LoraAdapter:
    """Return an adapter that changes weights by about a tenth of their usual size.

    B lies as files are read.
    """
    rng, size = np.random.default_rng(seed), np.float32(0.02)
    factors = {
        layer.name: LoraLayer(
            rng.standard_normal((rank, layer.shape[1]), np.float32) * size,
            np.asfortranarray(rng.standard_normal((layer.shape[0], rank), np.float32) * size),
            scaling,
        )
        for layer in layers
    }
    return LoraAdapter(name, factors)
