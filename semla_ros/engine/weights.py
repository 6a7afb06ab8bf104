"""What an engine must know about weights before it writes one: names, shapes, values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from safetensors import SafetensorError, safe_open

from semla_ros.bundle import AS_TRAINED, GraphWeight, ModelBundle
from semla_ros.errors import BundleError, EngineError, VocabularyError
from semla_ros.types import AdapterMix, Float32Array, WeightSet

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


def read_base_weights(
    bundle: ModelBundle, layers: Sequence[GraphWeight]
) -> dict[str, Float32Array]:
    """Return layer name -> base weight (out, in) float32, C-contiguous, read-only.

    Raises:
        BundleError: A tensor is missing or has another shape than the manifest says.
    """
    base: dict[str, Float32Array] = {}
    try:
        with safe_open(str(bundle.weights), framework="numpy") as tensors:
            for layer in layers:
                tensor = np.ascontiguousarray(tensors.get_tensor(layer.parameter), np.float32)
                if tensor.shape != layer.shape:
                    raise BundleError(
                        f"{bundle.weights.name}: expected {layer.parameter!r} of shape "
                        f"{layer.shape!r}, got {tensor.shape!r}: rebuild the bundle"
                    )
                tensor.flags.writeable = False
                base[layer.name] = tensor
    except (SafetensorError, OSError) as error:
        raise BundleError(
            f"{bundle.weights.name} cannot be read: {error}: rebuild the bundle"
        ) from error
    return base


def graph_shape(layer: GraphWeight) -> tuple[int, int]:
    """Return the shape of the layer's weight as the graph holds it."""
    out, inner = layer.shape
    return (inner, out) if layer.transposed else (out, inner)


def write_weight(weight: Float32Array, layer: GraphWeight, *, out: Float32Array) -> None:
    """Copy `weight` (out, in) into `out`, which has the layout of the graph.

    OpenCV transposes in blocks: five times faster than a strided copy of numpy.
    """
    if layer.transposed:
        cv2.transpose(weight, dst=out)
    else:
        np.copyto(out, weight)


def write_layer(
    weights: Mapping[str, Float32Array], layer: GraphWeight, *, out: Float32Array
) -> None:
    """Write the weight of `layer` into `out`, which has the layout of the graph."""
    write_weight(weights[layer.name], layer, out=out)


def graph_array(weight: Float32Array, layer: GraphWeight) -> Float32Array:
    """Return a copy of `weight` (out, in) in the layout of the graph."""
    array: Float32Array = np.empty(graph_shape(layer), np.float32)
    write_weight(weight, layer, out=array)
    return array


def check_weight_set(
    weight_set: WeightSet,
    layers: Mapping[str, GraphWeight],
    *,
    feature_dim: int | None,
    max_classes: int | None = None,
) -> None:
    """Check everything about `weight_set` that a graph with these `layers` relies on.

    Raises:
        EngineError: An unknown layer, a wrong shape or dtype, or a value that is not finite.
        VocabularyError: More classes than the graph can tell apart.
    """
    classes = len(weight_set.vocabulary.names)
    if max_classes is not None and classes > max_classes:
        raise VocabularyError(
            f"expected at most {max_classes} classes, got {classes}: shorten the class list, or "
            "take engine 'torch', which keeps the most similar ones of each image"
        )
    for name, weight in weight_set.weights.items():
        layer = layers.get(name)
        if layer is None:
            raise EngineError(
                f"expected layers of the segmentation graph, got {name!r}: "
                "was the adapter made for another model?"
            )
        _check_array(f"weight {name!r}", weight, shape=layer.shape)
    features = weight_set.text_features
    width = features.shape[1] if feature_dim is None else feature_dim
    _check_array("text features", features, shape=(len(weight_set.vocabulary.names), width))


def _check_array(what: str, array: Float32Array, *, shape: tuple[int, ...]) -> None:
    if array.dtype != np.float32 or array.shape != shape:
        raise EngineError(
            f"{what}: expected {shape!r} of float32, got {array.shape!r} of {array.dtype}"
        )
    if not np.isfinite(array).all():
        raise EngineError(
            f"{what}: expected finite values, got {int((~np.isfinite(array)).sum())} "
            "NaN or infinite: the adapter is damaged"
        )
