"""SegFormers of published sizes with random weights, for timing alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from semla_ros.bench.made_bundle import ADAPTERS, CLASSES, random_adapter
from semla_ros.bundle import AdaptationDefaults, ModelBundle, open_bundle
from semla_ros.core.errors import EngineUnavailableError
from semla_ros.prepare.adapters.write import write_adapter

SHAPES: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        "segformer-b0": {"depths": [2, 2, 2, 2], "hidden_sizes": [32, 64, 160, 256]},
        "segformer-b2": {
            "depths": [3, 4, 6, 3],
            "hidden_sizes": [64, 128, 320, 512],
            "decoder_hidden_size": 768,
        },
    }
)
"""Name -> what its configuration changes. Source: Xie et al., SegFormer, 2021, table 6."""

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
    library, names = import_transformers(), dict(enumerate(CLASSES))
    torch.manual_seed(0)
    config = library.SegformerConfig(
        **SHAPES[shape], id2label=names, label2id={name: i for i, name in names.items()}
    )
    checkpoint = folder / "checkpoint"
    with quietly():
        library.SegformerForSemanticSegmentation(config).save_pretrained(checkpoint)
        sides = {"height": size[0], "width": size[1]}
        library.SegformerImageProcessor(size=sides).save_pretrained(checkpoint)
    defaults = AdaptationDefaults(0.05, 2, "euclidean", "inverse", -1.0, 0.05, 1000.0)
    bundle, _ = import_hub_bundle(HubRequest(str(checkpoint), folder / "bundle", defaults))
    manifest = bundle.manifest
    for seed, each in enumerate(ADAPTERS):
        adapter = random_adapter(each, manifest.layers, rank=_RANK, scaling=2.0, seed=seed)
        adapter = replace(adapter, base_model=manifest.base_model)
        write_adapter(bundle.library / each, adapter, alpha=2.0 * _RANK)
    return open_bundle(bundle.root, verify=False), checkpoint
