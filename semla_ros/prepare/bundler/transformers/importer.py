"""`semla bundle import --family transformers`: checkpoint and adapters become a bundle."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from semla_ros.bundle import AdaptationDefaults, ModelBundle
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
from semla_ros.prepare.bundler.transformers.export import graph_weight
from semla_ros.prepare.bundler.transformers.heads import KINDS, Segmenter, make_exportable
from semla_ros.prepare.bundler.transformers.hub_bundle import HubParts, write_hub_bundle
from semla_ros.prepare.bundler.transformers.layers import adaptable_layers
from semla_ros.prepare.bundler.transformers.processor import input_size, read_processor
from semla_ros.prepare.bundler.writer import require_free

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HubRequest:
    """What to make a bundle of.

    Attributes:
        checkpoint: Folder, or name on the hub.
        loradb: Adapters as PEFT saves them, a folder each; None: an empty library.
        classes: Names of the classes, in the checkpoint's order; None: its own.
        size: (H, W) of the network's input; None: what its image processor says.
        navigator: None: explicit mixes only; a bundle: as it has it.
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


def import_hub_bundle(request: HubRequest) -> tuple[ModelBundle, Mapping[str, str]]:
    """Return the bundle, and why adapters were left out by name; it appears whole or not at all.

    Raises:
        SemlaError: An input is unusable, or the exported graph does not answer as torch does.
    """
    require_free(request.out)
    _LOG.info("reading the checkpoint")
    parts = _parts(request, read_hub_checkpoint(request.checkpoint))
    with tempfile.TemporaryDirectory(prefix="semla-import-") as scratch:
        library = Path(scratch) / "library"
        library.mkdir()
        _LOG.info("checking the adapters")
        skipped = _library(request, parts, library)
        _LOG.info("exporting and checking the graph")
        bundle = write_hub_bundle(request.out, parts, library=library)
    return bundle, skipped


def _parts(request: HubRequest, checkpoint: HubCheckpoint) -> HubParts:
    network, kind = checkpoint.network, checkpoint.model_type
    processor = read_processor(checkpoint.folder)
    size = input_size(processor, network, model_type=kind, asked=request.size)
    vocabulary = _vocabulary(request.classes, checkpoint)
    changed = touched(request.loradb) if request.loradb else ()
    layers = tuple(adaptable_layers(network, touched=changed))
    state = weights_of(network)
    make_exportable(network)
    return HubParts(
        name=checkpoint.names[0],
        model_type=kind,
        segmenter=Segmenter(network, KINDS[kind], processor.pixels).eval(),
        state=state,
        folder=checkpoint.folder,
        layers=layers,
        size=size,
        vocabulary=vocabulary,
        defaults=request.defaults,
        navigator=request.navigator,
        base_names=checkpoint.names,
    )


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


def _library(request: HubRequest, parts: HubParts, target: Path) -> dict[str, str]:
    if request.loradb is None:
        return {}
    layers = {layer.name: graph_weight(layer) for layer in parts.layers}
    spec = spec_of(request.navigator)
    contract = AdapterContract(layers, parts.identity, spec, qkv=None, base_names=parts.base_names)
    return import_library(request.loradb, target, contract, skip_unusable=request.skip_unusable)
