"""`semla bundle import --family transformers`: checkpoint and adapters become a bundle."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from semla_ros.bundle import (
    AdaptationDefaults,
    GraphWeight,
    Manifest,
    ModelBundle,
    SegmentationSpec,
    file_sha256,
    write_manifest,
)
from semla_ros.bundle.onnx_session import open_session
from semla_ros.core.errors import TrainingError
from semla_ros.core.types import Vocabulary
from semla_ros.core.viz.palette import vocabulary_of
from semla_ros.data.labels.class_lists import read_classes
from semla_ros.prepare.bundler.adapter_import import AdapterContract, import_library, touched
from semla_ros.prepare.bundler.navigator_parts import Navigator, spec_of
from semla_ros.prepare.bundler.transformers.checkpoint import (
    HubCheckpoint,
    read_hub_checkpoint,
    weights_of,
)
from semla_ros.prepare.bundler.transformers.export import export_segmenter, graph_weight
from semla_ros.prepare.bundler.transformers.heads import KINDS, Segmenter, make_exportable
from semla_ros.prepare.bundler.transformers.layers import Layer, adaptable_layers
from semla_ros.prepare.bundler.transformers.processor import input_size, read_processor
from semla_ros.prepare.bundler.verify import compare_navigator
from semla_ros.prepare.bundler.writer import (
    new_bundle,
    require_free,
    state_identity,
    write_navigator,
)

FAMILY = "transformers"
TOLERANCE = 1e-4
"""Largest difference of the exported graph from the network, relative to the largest value."""
EQUAL_LABELS = 0.999
"""Share of equal labels that is enough where masks of queries pass a threshold inside."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HubRequest:
    """What to make a bundle of.

    Attributes:
        checkpoint: Folder, or name on the hub.
        loradb: Adapters as PEFT saves them, a folder each; None: an empty library.
        classes: Names of the classes, in the checkpoint's order; None: its own.
        size: (H, W) of the network's input; None: what its image processor says.
        navigator: None: explicit mixes only.
        defaults: Adaptation settings.
        out: The new bundle folder.
        skip_unusable: Leave unusable adapters out instead of refusing the library.
    """

    checkpoint: str
    out: Path
    defaults: AdaptationDefaults
    loradb: Path | None = None
    classes: str | None = None
    size: tuple[int, int] | None = None
    navigator: Navigator = None
    skip_unusable: bool = False


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the bundle is written from."""

    checkpoint: HubCheckpoint
    segmenter: Segmenter
    layers: tuple[Layer, ...]
    size: tuple[int, int]
    vocabulary: Vocabulary
    identity: str


def import_hub_bundle(request: HubRequest) -> tuple[ModelBundle, Mapping[str, str]]:
    """Return the bundle, and why adapters were left out by name; it appears whole or not at all.

    Raises:
        SemlaError: An input is unusable, or the exported graph does not answer as torch does.
    """
    require_free(request.out)
    _LOG.info("reading the checkpoint")
    checkpoint = read_hub_checkpoint(request.checkpoint)
    parts = _parts(request, checkpoint)
    with tempfile.TemporaryDirectory(prefix="semla-import-") as scratch:
        library = Path(scratch) / "library"
        library.mkdir()
        _LOG.info("checking the adapters")
        skipped = _library(request, parts, library)
        _LOG.info("exporting and checking the graph")
        bundle = new_bundle(
            request.out,
            partial(_fill, request=request, parts=parts),
            library=library,
            check=partial(_check, parts=parts, navigator=request.navigator),
        )
    return bundle, skipped


def _parts(request: HubRequest, checkpoint: HubCheckpoint) -> _Parts:
    network, kind = checkpoint.network, checkpoint.model_type
    processor = read_processor(checkpoint.folder)
    size = input_size(processor, network, model_type=kind, asked=request.size)
    vocabulary = _vocabulary(request.classes, checkpoint)
    changed = touched(request.loradb) if request.loradb else ()
    layers = tuple(adaptable_layers(network, touched=changed))
    identity = state_identity(weights_of(network), prefix=kind)
    make_exportable(network)
    segmenter = Segmenter(network, KINDS[kind], processor.pixels).eval()
    return _Parts(checkpoint, segmenter, layers, size, vocabulary, identity)


def _vocabulary(classes: str | None, checkpoint: HubCheckpoint) -> Vocabulary:
    if classes is None:
        if checkpoint.labels is None:
            raise TrainingError(
                f"checkpoint {checkpoint.names[0]!r} numbers its {checkpoint.classes} classes and "
                "does not name them: give --classes with their names in its order"
            )
        return vocabulary_of(checkpoint.labels)
    vocabulary = read_classes(classes)
    if len(vocabulary.names) != checkpoint.classes:
        raise TrainingError(
            f"expected --classes to name the {checkpoint.classes} classes of the checkpoint in "
            f"its order, got {len(vocabulary.names)} names: this network has no others"
        )
    return vocabulary


def _library(request: HubRequest, parts: _Parts, target: Path) -> dict[str, str]:
    if request.loradb is None:
        return {}
    layers = {layer.name: graph_weight(layer) for layer in parts.layers}
    spec = spec_of(request.navigator)
    contract = AdapterContract(
        layers, parts.identity, spec, qkv=None, base_names=parts.checkpoint.names
    )
    return import_library(request.loradb, target, contract, skip_unusable=request.skip_unusable)


def _fill(root: Path, *, request: HubRequest, parts: _Parts) -> None:
    kind = KINDS[parts.checkpoint.model_type]
    graph = root / "segmentation.onnx"
    layers = export_segmenter(
        parts.segmenter, graph, parts.layers, size=parts.size, any_size=kind.any_size
    )
    weights = root / "weights.safetensors"
    save_file(_layer_weights(parts, layers), str(weights), metadata={"format": "pt"})
    shutil.copymode(graph, weights)  # safetensors writes for the owner alone
    navigator = write_navigator(
        root, request.navigator, base_model=parts.identity, shape=parts.size
    )
    files = {p.name: file_sha256(p) for p in sorted(root.iterdir()) if p.is_file()}
    height, width = parts.size
    manifest = Manifest(
        name=parts.checkpoint.names[0],
        family=FAMILY,
        base_model=parts.identity,
        segmentation=SegmentationSpec(
            height,
            max_classes=len(parts.vocabulary.names),
            width=0 if width == height else width,
            activation=kind.activation,
        ),
        text=None,
        navigator=navigator,
        vocabulary=parts.vocabulary,
        defaults=request.defaults,
        layers=tuple(layers),
        files=files,
        base_names=parts.checkpoint.names,
    )
    write_manifest(root, manifest)


def _layer_weights(parts: _Parts, layers: list[GraphWeight]) -> dict[str, torch.Tensor]:
    """Return the base weights that adapters may change; the graph holds all others."""
    network = parts.checkpoint.network
    return {x.parameter: network.get_parameter(x.parameter).detach().contiguous() for x in layers}


def _check(bundle: ModelBundle, *, parts: _Parts, navigator: Navigator) -> None:
    """Return if the graph answers seeded noise as the network does.

    Raises:
        TrainingError: It does not.
    """
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 255, (1, 3, *parts.size)).astype(np.float32)
    with torch.inference_mode():
        expected = parts.segmenter(torch.from_numpy(image)).numpy()
    (got,) = open_session(bundle.segmentation_graph, threads=0).run(["logits"], {"image": image})
    same = got.shape == expected.shape
    scale = max(1e-6, float(np.abs(expected).max()))
    error = float(np.abs(got - expected).max()) / scale if same else np.inf
    equal = float((got.argmax(1) == expected.argmax(1)).mean()) if same else 0.0
    if not (error <= TOLERANCE or equal >= EQUAL_LABELS):
        raise TrainingError(
            f"segmentation.onnx: expected torch's answer within {TOLERANCE:g}, got a relative "
            f"difference of {error:.3g} and {100 * equal:.2f} % equal labels: export with the "
            "torch version this project is tested with"
        )
    _LOG.info("the graph is within %.2g of torch, %.3f %% equal labels", error, 100 * equal)
    compare_navigator(bundle, navigator)
