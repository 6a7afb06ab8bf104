"""A trained adapter becomes an entry of the library: whole, sealed, described, or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from semla_ros.bundle import ModelBundle
from semla_ros.core.errors import AdapterError, TrainingError
from semla_ros.core.types import Float32Array, LoraAdapter, LoraLayer
from semla_ros.library.statistics import DomainStatistics, statistics_path
from semla_ros.library.storage import check_name, waits_for_adapter
from semla_ros.network.config import CatSegConfig
from semla_ros.network.layers import adaptable_layers
from semla_ros.prepare.adapters.changes import copy_companions, disk, staging, take_place
from semla_ros.prepare.adapters.seals import write_seal
from semla_ros.prepare.adapters.write import write_adapter, write_statistics
from semla_ros.prepare.curation.spread import domain_statistics
from semla_ros.prepare.training.initial import Ranks, kaiming

CARD = "README.md"


def require_free_name(bundle: ModelBundle, name: str, *, replaces: bool) -> None:
    """Return if an adapter may appear under `name`.

    Raises:
        TrainingError: One is there, and it is not to be replaced; or the library is missing.
    """
    check_name(name)
    folder = bundle.library / name
    if not bundle.library.is_dir():
        raise TrainingError(f"expected the library {str(bundle.library)!r}, found none")
    if folder.exists() and not replaces and not waits_for_adapter(folder, name):
        raise TrainingError(
            f"adapter {name!r} exists in {str(bundle.library)!r}: choose another --name, or "
            "--replace it"
        )


def statistics_of(
    rows: Float32Array, recordings: Sequence[int], *, encoder: str
) -> DomainStatistics:
    """Return the statistics of a domain's embeddings (N, D), as `semla library embed` makes them.

    Args:
        rows: In order.
        recordings: Number of the recording of each row, not decreasing.
        encoder: Identity of the encoder.
    """
    lengths = [int(n) for n in np.bincount(recordings) if n]

    def chunks() -> Iterator[Float32Array]:
        return iter([rows])

    return domain_statistics(chunks, encoder=encoder, sources=lengths)


def write_entry(
    bundle: ModelBundle,
    adapter: LoraAdapter,
    *,
    statistics: DomainStatistics | None,
    card: str,
    documents: Mapping[str, bytes] = MappingProxyType({}),
) -> Path:
    """Return the folder of `adapter` in the bundle's library; what was there is replaced.

    Statistics that wait for their adapter stay as they are, and the domain's captions and
    documents, unless it gets new ones: the card, and `documents` by name.

    Raises:
        SemlaError: The disk refuses; the library is as it was.
    """
    name, target = adapter.name, bundle.library / adapter.name
    alpha = next(iter(adapter.layers.values()))
    with disk(f"write adapter {name!r}"), staging(bundle.library) as scratch:
        made = scratch / name
        write_adapter(made, adapter, alpha=alpha.scaling * len(alpha.lora_a))
        if target.is_dir() and waits_for_adapter(target, name):
            shutil.copyfile(statistics_path(target, name), statistics_path(made, name))
        elif statistics is not None:
            write_statistics(made, name, statistics)
        (made / CARD).write_text(card, encoding="utf-8")
        for file, content in documents.items():
            (made / file).write_bytes(content)
        if target.is_dir():
            copy_companions(target, made)
        write_seal(made)
        take_place(made, target, aside=scratch / "before" if target.exists() else None)
    return target


def with_dead_qkv(adapter: LoraAdapter, config: CatSegConfig, *, seed: int) -> LoraAdapter:
    """Return `adapter` with q, k and v as the original's files have them: A random, B zero."""
    rng = np.random.default_rng(seed)
    rank = len(next(iter(adapter.layers.values())).lora_a)
    scaling = next(iter(adapter.layers.values())).scaling
    layers = dict(adapter.layers)
    for layer in adaptable_layers(config):
        if layer.inert_in_official and layer.name not in layers:
            empty = np.zeros(layer.shape, np.float32)
            pair = kaiming(empty, Ranks(rank), scaling * rank, rng).stacked
            layers[layer.name] = LoraLayer(pair.a, pair.b, scaling)
    return replace(adapter, layers=layers)


def card_text(
    name: str,
    *,
    licence: str,
    summary: Sequence[str],
    facts: dict[str, Any],
    by: str = "train adapter",
) -> str:
    """Return the card: front matter as model hubs have it, words, and all facts as JSON.

    Args:
        name: Of the adapter.
        licence: One line, or empty.
        summary: Lines.
        facts: At least `base`, its identity.
        by: The command that made it.

    Raises:
        AdapterError: The licence does not fit on one line.
    """
    if "\n" in licence:
        raise AdapterError(f"expected a licence of one line, got {licence!r}")
    front = [f"license: {json.dumps(licence)}"] if licence else []
    body = json.dumps(facts, indent=1, ensure_ascii=False)
    return "\n".join(
        [
            "---",
            *front,
            "library_name: peft",
            f"base_model: {json.dumps(facts['base'])}",
            "---",
            f"# {name}",
            "",
            f"A LoRA in SemLA's layout, made by `semla {by}`.",
            "",
            *summary,
            "",
            "```json",
            body,
            "```",
            "",
        ]
    )
