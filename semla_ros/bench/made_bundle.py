"""A bundle of the published network's size with random weights, for timing alone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from semla_ros.bundle import AdaptationDefaults, ModelBundle, TextSpec, open_bundle
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
_RANK, _ALPHA = 8, 16.0
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
            f"making a network needs {error.name!r}: pip install 'semla-ros[train]'"
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
    rng = np.random.default_rng(_SEED)
    for adapter_name in ADAPTERS:
        layers = {layer.name: _factors(rng, layer.shape) for layer in bundle.manifest.layers}
        adapter = LoraAdapter(adapter_name, layers, base_identity(model))
        write_adapter(bundle.library / adapter_name, adapter, alpha=_ALPHA)
    return open_bundle(folder, verify=False)


def _factors(rng: np.random.Generator, shape: tuple[int, int]) -> LoraLayer:
    """Return a change of about 5 % of a usual weight's size, as trained adapters have."""
    out, inner = shape
    down = rng.standard_normal((_RANK, inner), dtype=np.float32) / np.float32(inner**0.5)
    up = rng.standard_normal((out, _RANK), dtype=np.float32) * np.float32(0.0005)
    return LoraLayer(down, up, _ALPHA / _RANK)
