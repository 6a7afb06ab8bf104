"""From a mix and a class list to everything an engine needs to serve them."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence

from semla_ros.engine.text import TextFeatures
from semla_ros.library.fusion import WeightSource, merge
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

    Args:
        mix: The proportions.
        adapters: At least the members of `mix`.
        base: W0 of every adaptable layer.
        text: The text tower.
        vocabulary: The classes.
        image_layers: Names of the layers of the segmentation graph.
        key: What identifies the merged weights, for the cache of text features.
    """
    merged = merge(base, adapters, mix)
    features = text.encode(vocabulary, merged, key=key)
    image_side = {name: weight for name, weight in merged.items() if name in image_layers}
    return WeightSet(mix, image_side, features, vocabulary)
