"""Networks from transformers of published sizes with random weights, for timing alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from semla_ros.bench.made_bundle import ADAPTERS, CLASSES, random_adapter
from semla_ros.bundle import AdaptationDefaults, ModelBundle, open_bundle
from semla_ros.core.errors import ConfigError, EngineUnavailableError
from semla_ros.prepare.adapters.write import write_adapter

SEGFORMER, EOMT = "segformer", "eomt"
SHAPES: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        f"{SEGFORMER}-b0": {"depths": [2, 2, 2, 2], "hidden_sizes": [32, 64, 160, 256]},
        f"{SEGFORMER}-b2": {
            "depths": [3, 4, 6, 3],
            "hidden_sizes": [64, 128, 320, 512],
            "decoder_hidden_size": 768,
        },
        f"{EOMT}-s": {
            "hidden_size": 384,
            "num_hidden_layers": 12,
            "num_attention_heads": 6,
            "num_blocks": 3,
            "num_queries": 100,
        },
    }
)
"""Name -> what its configuration changes; before the dash its kind.

Source: Xie et al., SegFormer, 2021, table 6; Kerssies et al., EoMT, 2025 (ViT-S).
"""

_RANK = 8


def make_family(folder: Path, shape: str, size: tuple[int, int]) -> tuple[ModelBundle, Path]:
    """Return a bundle of a network of `SHAPES` with three adapters, and its checkpoint's folder.

    Args:
        folder: Made, with `checkpoint` and `bundle` in it.
        shape: A key of `SHAPES`.
        size: (H, W) of its image.

    Raises:
        EngineUnavailableError: torch or transformers is missing.
    """
    try:
        import torch

        from semla_ros.prepare.bundler.transformers.checkpoint import import_transformers, quietly
        from semla_ros.prepare.bundler.transformers.importer import HubRequest, import_hub_bundle
    except ModuleNotFoundError as error:
        raise EngineUnavailableError(
            f"making a network needs {error.name!r}: pip install '.[import]'"
        ) from error
    torch.manual_seed(0)
    checkpoint = folder / "checkpoint"
    with quietly():
        for part in _network(import_transformers(), shape, size):
            part.save_pretrained(checkpoint)
    defaults = AdaptationDefaults(0.05, 2, "euclidean", "inverse", -1.0, 0.05, 1000.0)
    bundle, _ = import_hub_bundle(HubRequest(str(checkpoint), folder / "bundle", defaults))
    manifest = bundle.manifest
    for seed, each in enumerate(ADAPTERS):
        adapter = random_adapter(each, manifest.layers, rank=_RANK, scaling=2.0, seed=seed)
        adapter = replace(adapter, base_model=manifest.base_model)
        write_adapter(bundle.library / each, adapter, alpha=2.0 * _RANK)
    return open_bundle(bundle.root, verify=False), checkpoint


def _network(library: ModuleType, shape: str, size: tuple[int, int]) -> tuple[Any, Any]:
    """Return a network of transformers, and its image processor.

    Raises:
        ConfigError: EoMT of an image that is no square.
    """
    names = dict(enumerate(CLASSES))
    changes = {
        **SHAPES[shape],
        "id2label": names,
        "label2id": {name: i for i, name in names.items()},
    }
    if shape.startswith(SEGFORMER):
        config = library.SegformerConfig(**changes)
        sides = {"height": size[0], "width": size[1]}
        network = library.SegformerForSemanticSegmentation(config)
        return network, library.SegformerImageProcessor(size=sides)
    if size[0] != size[1]:
        raise ConfigError(f"expected a square image for {shape}, got {size!r}: --size 640x640")
    config = library.EomtConfig(**changes, image_size=size[0])
    network = library.EomtForUniversalSegmentation(config)
    network.attn_mask_probs.zero_()  # as trained ones have it
    sides = {"shortest_edge": size[0], "longest_edge": size[0]}
    return network, library.EomtImageProcessor(size=sides)
