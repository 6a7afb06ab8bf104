"""What an engine must know about weights before it writes one: names, shapes, values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from semla_ros.bundle import AS_TRAINED, GraphWeight, ModelBundle
from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.bundle.onnx_session import SharedInitializers
from semla_ros.core.errors import EngineError, VocabularyError
from semla_ros.core.lazy_weights import LazyWeights
from semla_ros.core.types import AdapterMix, Float32Array, WeightSet

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
) -> Mapping[str, Float32Array]:
    """Return layer name -> base weight (out, in) float32, read-only.

    The arrays are those of `BaseWeights.open`, in memory once per process; they are views of the
    graph's layout, so `write_weight` copies them without turning anything.

    Raises:
        BundleError: A tensor is missing or has another shape than the manifest says.
    """
    return BaseWeights.open(bundle).only([layer.name for layer in layers])


def shared_initializers(
    bundle: ModelBundle, layers: Mapping[str, GraphWeight]
) -> SharedInitializers:
    """Return W0 of `layers` for a session of their graph, which then keeps no copy of its own.

    Raises:
        BundleError: A tensor is missing or has another shape than the manifest says.
    """
    base = BaseWeights.open(bundle)
    return SharedInitializers(
        {layer.initializer: base.as_stored(name) for name, layer in layers.items()}
    )


def graph_shape(layer: GraphWeight) -> tuple[int, int]:
    """Return the shape of the layer's weight as the graph holds it."""
    out, inner = layer.shape
    return (inner, out) if layer.transposed else (out, inner)


def write_weight(weight: Float32Array, layer: GraphWeight, *, out: Float32Array) -> None:
    """Copy `weight` (out, in) into `out`, which has the layout of the graph.

    OpenCV transposes in blocks: five times faster than a strided copy of numpy.
    """
    laid_out = weight.T if layer.transposed else weight
    if laid_out.flags.c_contiguous:
        np.copyto(out, laid_out)
    else:
        cv2.transpose(np.ascontiguousarray(laid_out.T), dst=out)


def write_layer(
    weights: Mapping[str, Float32Array], layer: GraphWeight, *, out: Float32Array
) -> None:
    """Write the weight of `layer` into `out`, which has the layout of the graph.

    Lazy weights are merged here, straight into `out`: no copy of full size is made.

    Args:
        weights: `LazyWeights`, or plain arrays (out, in).
        layer: Its name is a key of `weights`.
        out: C-contiguous, of `graph_shape(layer)`.

    Raises:
        SemlaError: The merged weight might not be finite; `out` is then as it was.
    """
    if isinstance(weights, LazyWeights):
        weights.write(layer.name, out=out, transposed=layer.transposed)
    else:
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
    for name in weight_set.weights:
        layer = layers.get(name)
        if layer is None:
            raise EngineError(
                f"expected layers of the segmentation graph, got {name!r}: "
                "was the adapter made for another model?"
            )
        _check_weight(weight_set.weights, layer)
    features = weight_set.text_features
    width = features.shape[1] if feature_dim is None else feature_dim
    _check_array("text features", features, shape=(len(weight_set.vocabulary.names), width))


def _check_weight(weights: Mapping[str, Float32Array], layer: GraphWeight) -> None:
    """Check shape, and values where they exist already; lazy weights prove theirs in `write`."""
    if not isinstance(weights, LazyWeights):
        _check_array(f"weight {layer.name!r}", weights[layer.name], shape=layer.shape)
    elif weights.shape(layer.name) != tuple(layer.shape):
        raise EngineError(
            f"weight {layer.name!r}: expected {layer.shape!r}, got {weights.shape(layer.name)!r}"
        )


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
