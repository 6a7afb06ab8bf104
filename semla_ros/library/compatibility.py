"""Does an adapter belong to this bundle? Checked whole before anything is written."""

from __future__ import annotations

from collections.abc import Mapping

from semla_ros.bundle import GraphWeight
from semla_ros.core.errors import AdapterMismatchError
from semla_ros.core.types import LoraAdapter
from semla_ros.library.statistics import DomainStatistics

PUBLISHED_ENCODER = "openai/clip-vit-large-patch14"
"""What SemLA's published centroids were made with; their files do not say so."""

_SHOWN = 3


def check_adapter(
    adapter: LoraAdapter, layers: Mapping[str, GraphWeight], *, base_model: str
) -> None:
    """Return if every layer of `adapter` has its place among `layers`.

    SemLA's q/k/v tensors name modules that are no adaptable layer; their B is all zero, so they
    never reach this point. One with a non-zero B would change the model where we cannot follow.

    Raises:
        AdapterMismatchError: Another base model, unknown layers or other shapes.
    """
    if adapter.base_model is not None and adapter.base_model != base_model:
        raise AdapterMismatchError(
            f"adapter {adapter.name!r}: expected base model {base_model!r}, got "
            f"{adapter.base_model!r}: use an adapter trained on this bundle's base"
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
