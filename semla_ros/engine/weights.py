"""What an engine must know about weights before it writes one: names, shapes, values."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from semla_ros.bundle import AS_TRAINED, GraphWeight, ModelBundle
from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.bundle.onnx_session import SharedInitializers
from semla_ros.core.errors import EngineError, VocabularyError
from semla_ros.core.types import AdapterMix
from semla_ros.core.weights import WeightSet, WeightSource
from semla_ros.engine.contract import EngineFacts

SEGMENTATION_GRAPH = "segmentation"
TEXT_GRAPH = "text"
SECOND_TAP = "second_tap"
"""Graph input (1,) int64 of bundles whose guidance is `as_trained`."""


def layers_of(bundle: ModelBundle, graph: str) -> dict[str, GraphWeight]:
    """Return the adaptable layers of `graph` (`segmentation` or `text`) by name."""
    return {layer.name: layer for layer in bundle.manifest.layers if layer.graph == graph}


def second_tap(bundle: ModelBundle, mix: AdapterMix) -> int | None:
    """Return which tap the decoder's second guidance reads under `mix`: 1, or 2 as the base does.

    None where the bundle never changes it.
    """
    if bundle.manifest.adapter_guidance != AS_TRAINED:
        return None
    return 1 if mix.adapted else 2


def shared_initializers(
    bundle: ModelBundle, layers: Mapping[str, GraphWeight]
) -> SharedInitializers:
    """Return W0 of `layers` for a session of their graph, which then keeps no copy of its own.

    Raises:
        BundleError: A tensor is missing or has another shape than the manifest says.
    """
    base = BaseWeights.open(bundle)
    return SharedInitializers(
        {
            layer.initializer: base.as_stored(name).reshape(layer.graph_shape)
            for name, layer in layers.items()
        }
    )


def check_weight_set(weight_set: WeightSet, facts: EngineFacts) -> None:
    """Check everything about `weight_set` that an engine with these `facts` relies on.

    Raises:
        EngineError: An unknown layer, a wrong shape, or text features that are not finite.
        VocabularyError: More classes than the engine can tell apart.
    """
    classes = len(weight_set.vocabulary.names)
    if facts.feature_dim == 0 and classes != facts.max_classes:
        raise VocabularyError(
            f"expected the {facts.max_classes} classes that this network was trained for, got "
            f"{classes}: it knows no others"
        )
    most = classes if facts.max_classes is None else facts.max_classes
    if classes > most:
        raise VocabularyError(
            f"expected at most {most} classes, got {classes}: shorten the class list, or "
            "take engine 'torch', which keeps the most similar ones of each image"
        )
    for name in weight_set.weights.names:
        _check_weight(weight_set.weights, name, facts.layers.get(name))
    features = weight_set.text_features
    width = features.shape[1] if facts.feature_dim is None else facts.feature_dim
    shape = (classes, width)
    if features.dtype != np.float32 or features.shape != shape or not np.isfinite(features).all():
        raise EngineError(
            f"text features: expected {shape!r} of finite float32, got {features.shape!r} of "
            f"{features.dtype} or values that are not finite: is the text tower another model's?"
        )


def _check_weight(weights: WeightSource, name: str, layer: GraphWeight | None) -> None:
    """Check that `layer` is there and has that shape; its values are checked in `write`."""
    if layer is None:
        raise EngineError(
            f"expected layers of the segmentation graph, got {name!r}: "
            "was the adapter made for another model?"
        )
    if (got := weights.shape(name)) != tuple(layer.shape):
        raise EngineError(f"weight {name!r}: expected {layer.shape!r}, got {got!r}")
