"""What a bundle says of itself in `bundle.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from semla_ros.bundle.manifest_checks import ACTIVATIONS, GUIDANCES, check_manifest
from semla_ros.core.support_calibration import (
    SupportCalibration,
    calibration_from_dict,
    calibration_to_dict,
)
from semla_ros.core.types import Vocabulary

FORMAT = 1

AS_BASE, AS_TRAINED = GUIDANCES
"""What the decoder's quarter-size guidance reads while adapters serve, see `Manifest`."""

SIGMOID, SOFTMAX, SCORES = ACTIVATIONS
"""What makes probabilities of class maps, see `SegmentationSpec`."""


@dataclass(frozen=True, slots=True)
class GraphWeight:
    """Where an adaptable layer's weight lives.

    Attributes:
        name: Module name, as in adapter files.
        parameter: Key in `weights.safetensors`, shape (out, in).
        graph: `segmentation` or `text`.
        initializer: Name in that ONNX graph; an overridable input.
        transposed: The graph holds (in, out).
        shape: (out, in).
        kernel: (in channels, height, width) of a convolution, whose product is `in`; () of a
            linear layer.
        aliases: Other module names that adapter files may have for it.
    """

    name: str
    parameter: str
    graph: str
    initializer: str
    transposed: bool
    shape: tuple[int, int]
    kernel: tuple[int, ...] = ()
    aliases: tuple[str, ...] = ()

    @property
    def graph_shape(self) -> tuple[int, ...]:
        """Shape of the weight in its graph."""
        out, inner = self.shape
        if self.kernel:
            return (out, *self.kernel)
        return (inner, out) if self.transposed else (out, inner)


@dataclass(frozen=True, slots=True)
class SegmentationSpec:
    """Both ends of the segmentation graph: RGB 0..255 squashed to (size, width), class maps.

    Attributes:
        size: Height of the graph's input.
        width: Its width, 0: `size`.
        activation: What makes probabilities of the class maps: `sigmoid`, each class by itself,
            then resized, the largest wins; `softmax`, over the classes of a pixel, the maps being
            resized before; `scores`, nothing: they are sums of probabilities.
        crop_size: Side of a crop of the sliding path, 0: `size`; resized to `size` in its turn.
        max_classes: Longest class list the graph answers correctly for.
        class_pooling: Side of the blocks of patches over which class attention averages; the
            graph has it built in, an engine that makes the network of the weights needs it.
    """

    size: int
    crop_size: int = 0
    max_classes: int = 256
    class_pooling: int = 2
    width: int = 0
    activation: str = SIGMOID

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the graph's input."""
        return self.size, self.width or self.size

    @property
    def crop(self) -> int:
        """Side of a crop of the sliding path."""
        return self.crop_size or self.size


@dataclass(frozen=True, slots=True)
class TextSpec:
    """Text side: prompt template with one `{}`, context length in tokens."""

    template: str
    context_length: int


@dataclass(frozen=True, slots=True)
class NavigatorSpec:
    """The image encoder that tells domains apart.

    Attributes:
        identity: Model, features, preprocessing; centroids made by another identity are refused.
        size: Height of the input.
        resize: `center_crop` (shortest side to `size`, bicubic, centre crop), `eval_crop` (to
            8/7 of it), `letterbox` or `squash` (bilinear, no antialias, as the segmenter does it).
        mean, std: Per channel, of RGB in 0..1.
        dim: Length of an embedding.
        width: Width of the input, 0: `size`; another one is squashed to alone.
        shared: segmentation.onnx computes the same embedding on its way, as output `embedding`.
    """

    identity: str
    size: int
    resize: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    dim: int
    width: int = 0
    shared: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the input."""
        return self.size, self.width or self.size


@dataclass(frozen=True, slots=True)
class AdaptationDefaults:
    """What the bundle recommends where the configuration leaves it open.

    Attributes:
        temperature, top_k, distance, similarity: Retrieval.
        null_distance: Distance of the null adapter, -1 for none.
        support_low: Support score below which the level is LOW.
        out_of_library: Novelty (where unknown, nearest distance) above which it is
            OUT_OF_LIBRARY, for libraries that hold no images to find it on; 0: never.
        text_temperature: Softmax over cosines of a hint to descriptions; CLIP's own where nobody
            measured one. Source: Radford et al., 2021: the logit scale is held at 100.
        calibration: What a mask promises; None: nothing is known.
    """

    temperature: float
    top_k: int
    distance: str
    similarity: str
    null_distance: float
    support_low: float
    out_of_library: float
    calibration: SupportCalibration | None = None
    text_temperature: float = 0.01


@dataclass(frozen=True, slots=True)
class Manifest:
    """`bundle.yaml`, parsed.

    Attributes:
        name: What people call it.
        family: Network family: who made it; nothing at run time asks.
        base_model: Identity of the base weights; adapters name it.
        segmentation, text, navigator: The graphs; no text means a closed class list, no navigator
            explicit mixes only.
        vocabulary: Default class list.
        defaults: Adaptation settings and calibration.
        layers: Every adaptable layer.
        files: Relative path -> sha256 of each sealed file.
        adapter_guidance: `as_base`: the decoder reads both taps of the image tower, always.
            `as_trained`: while a mix holds adapters it reads the first tap twice, as the code
            that trained SemLA's published adapters does; the graph then has the input
            `second_tap`.
        base_names: Other names by which adapters may call the base, such as its name on a hub.
    """

    name: str
    family: str
    base_model: str
    segmentation: SegmentationSpec
    text: TextSpec | None
    navigator: NavigatorSpec | None
    vocabulary: Vocabulary
    defaults: AdaptationDefaults
    layers: tuple[GraphWeight, ...]
    files: Mapping[str, str]
    adapter_guidance: str = AS_BASE
    base_names: tuple[str, ...] = ()

    @property
    def shared_dim(self) -> int:
        """Length of the embedding that segmentation.onnx gives, 0: it gives none."""
        return self.navigator.dim if self.navigator and self.navigator.shared else 0


def manifest_from_dict(data: Mapping[str, Any]) -> Manifest:
    """Return what `bundle.yaml` says.

    Raises:
        ValueError, ConfigError, VocabularyError: An entry is missing or malformed; it is named.
    """
    check_manifest(data, "")
    navigator, calibration = data.get("navigator"), data.get("calibration")
    text = data.get("text")
    classes = data["classes"]
    return Manifest(
        name=data["name"],
        family=data["family"],
        base_model=data["base_model"],
        segmentation=SegmentationSpec(**data["segmentation"]),
        text=TextSpec(**text) if text else None,
        navigator=NavigatorSpec(**_tuples(navigator, "mean", "std")) if navigator else None,
        vocabulary=Vocabulary(
            tuple(c["name"] for c in classes), np.asarray([c["rgb"] for c in classes], np.uint8)
        ),
        defaults=AdaptationDefaults(
            **data["defaults"],
            calibration=calibration_from_dict(calibration) if calibration else None,
        ),
        layers=tuple(
            GraphWeight(**_tuples(entry, "shape", "kernel", "aliases")) for entry in data["layers"]
        ),
        files=dict(data["files"]),
        adapter_guidance=data.get("adapter_guidance", AS_BASE),
        base_names=tuple(data.get("base_names", ())),
    )


def _tuples(data: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: tuple(value) if key in keys else value for key, value in data.items()}


def manifest_to_dict(manifest: Manifest) -> dict[str, Any]:
    """Return what `bundle.yaml` holds for `manifest`; the inverse of parsing."""
    navigator, classes = manifest.navigator, manifest.vocabulary
    return {
        "format": FORMAT,
        "name": manifest.name,
        "family": manifest.family,
        "base_model": manifest.base_model,
        "segmentation": _plain(manifest.segmentation),
        "adapter_guidance": manifest.adapter_guidance,
        "base_names": list(manifest.base_names),
        "text": _plain(manifest.text) if manifest.text else None,
        "navigator": _plain(navigator) if navigator else None,
        **_defaults(manifest.defaults),
        "classes": [
            {"id": i, "name": n, "rgb": [int(v) for v in c]}
            for i, (n, c) in enumerate(zip(classes.names, classes.colors, strict=True))
        ],
        "layers": [_told(layer) for layer in manifest.layers],
        "files": dict(manifest.files),
    }


def _told(layer: GraphWeight) -> dict[str, Any]:
    """Return what is said of a layer: there are many, so nothing of what it lacks."""
    return {key: value for key, value in _plain(layer).items() if value != []}


def _defaults(defaults: AdaptationDefaults) -> dict[str, Any]:
    plain = _plain(defaults)
    calibration = plain.pop("calibration")
    found: dict[str, Any] = {"defaults": plain}
    if calibration is not None:
        found["calibration"] = calibration_to_dict(calibration)
    return found


def _plain(item: object) -> dict[str, Any]:
    values = {name: getattr(item, name) for name in item.__slots__}  # type: ignore[attr-defined]
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
