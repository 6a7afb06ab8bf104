"""From a mix and a class list to everything an engine needs to serve them."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence

from semla_ros.engine.text import TextFeatures
from semla_ros.library.fusion import MergedWeights, WeightSource
from semla_ros.types import AdapterMix, LoraAdapter, Vocabulary, WeightSet


def make_weight_set(
    mix: AdapterMix,
    adapters: Sequence[LoraAdapter],
    *,
    base: WeightSource,
    text: TextFeatures,
    vocabulary: Vocabulary,
    image_layers: Collection[str],
    key: Hashable | None = None,
) -> WeightSet:
    """Return everything an engine needs to serve `mix` with `vocabulary`.

    The image side is merged when the engine writes it, text features are computed here.

    Args:
        mix: The proportions.
        adapters: At least the members of `mix`.
        base: W0 of every adaptable layer.
        text: The text tower.
        vocabulary: The classes.
        image_layers: Names of the layers of the segmentation graph.
        key: What identifies the merged weights, for the cache of text features.
    """
    features = text.encode(vocabulary, MergedWeights(base, adapters, mix), key=key)
    image_side = MergedWeights(base, adapters, mix, layers=image_layers)
    return WeightSet(mix, image_side, features, vocabulary)
