"""Does an adapter belong to this bundle? Checked whole before anything is written."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from semla_ros.bundle import GraphWeight
from semla_ros.core.errors import AdapterMismatchError
from semla_ros.core.types import LoraAdapter
from semla_ros.library.statistics import DomainStatistics

PUBLISHED_ENCODER = "openai/clip-vit-large-patch14"
"""What SemLA's published centroids were made with; their files do not say so."""

_SHOWN = 3


def with_layer_names(adapter: LoraAdapter, layers: Mapping[str, GraphWeight]) -> LoraAdapter:
    """Return `adapter` with every layer under its own name where its file has an alias of it.

    Raises:
        AdapterMismatchError: Two modules of the file are the same layer.
    """
    aliases = {alias: layer.name for layer in layers.values() for alias in layer.aliases}
    renamed = {aliases.get(module, module): layer for module, layer in adapter.layers.items()}
    if len(renamed) != len(adapter.layers):
        twice = [m for m in adapter.layers if aliases.get(m) in adapter.layers]
        raise AdapterMismatchError(
            f"adapter {adapter.name!r}: changes {aliases[twice[0]]!r} twice, also as "
            f"{twice[0]!r}: save it with one version of transformers"
        )
    return replace(adapter, layers=renamed) if aliases else adapter


def check_adapter(
    adapter: LoraAdapter,
    layers: Mapping[str, GraphWeight],
    *,
    base_model: str,
    base_names: Collection[str] = (),
) -> None:
    """Return if every layer of `adapter` has its place among `layers`.

    PEFT writes the base's name or path into an adapter; its last part may be one of `base_names`.

    SemLA's q/k/v tensors name modules that are no adaptable layer; their B is all zero, so they
    never reach this point. One with a non-zero B would change the model where we cannot follow.

    Raises:
        AdapterMismatchError: Another base model, unknown layers or other shapes.
    """
    named = adapter.base_model
    if named not in (None, base_model) and str(named).rstrip("/").split("/")[-1] not in base_names:
        known = f"base model {base_model!r}"
        known += f" or one named of {sorted(base_names)!r}" if base_names else ""
        raise AdapterMismatchError(
            f"adapter {adapter.name!r}: expected {known}, got {named!r}: use an adapter trained "
            "on this bundle's base"
        )
    unknown = [module for module in adapter.layers if module not in layers]
    if unknown:
        raise AdapterMismatchError(
            f"adapter {adapter.name!r} changes {len(unknown)} modules that this bundle cannot "
            f"adapt, e.g. {unknown[:_SHOWN]!r}: expected {len(layers)} layers such as "
            f"{sorted(layers)[:_SHOWN]!r}; use an adapter of the same network"
        )
    for module, layer in adapter.layers.items():
        got = (layer.lora_b.shape[0], layer.lora_a.shape[1])
        if got != tuple(layers[module].shape):
            raise AdapterMismatchError(
                f"adapter {adapter.name!r}, {module!r}: expected (out, in) "
                f"{tuple(layers[module].shape)!r}, got {got!r}: it was made for another model size"
            )


def check_statistics(
    statistics: DomainStatistics, name: str, *, encoder: str | None, dim: int
) -> None:
    """Return if the centroid of adapter `name` lives in this navigator's space.

    A centroid that does not name its encoder is taken for one of SemLA's own.

    Raises:
        AdapterMismatchError: Another length or another encoder.
    """
    if statistics.centroid.shape != (dim,):
        raise AdapterMismatchError(
            f"adapter {name!r}: expected a centroid of length {dim}, got "
            f"{statistics.centroid.shape[0]}: generate the statistics with this bundle's navigator"
        )
    made_with = statistics.encoder or PUBLISHED_ENCODER
    if encoder not in (None, made_with):
        silent = "" if statistics.encoder else " (the file names none)"
        raise AdapterMismatchError(
            f"adapter {name!r}: expected a centroid made with {encoder!r}, got "
            f"{made_with!r}{silent}: generate the statistics with this bundle's navigator"
        )
