"""A bundle of this family: written from a network, read again to be trained further.

Beside the graph it holds all weights as the library names them, and the checkpoint's own
configuration and image processor in `checkpoint/`.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from semla_ros.bundle import (
    AdaptationDefaults,
    Manifest,
    ModelBundle,
    SegmentationSpec,
    file_sha256,
    write_manifest,
)
from semla_ros.bundle.onnx_session import open_session
from semla_ros.core.errors import BundleError, TrainingError
from semla_ros.core.types import Vocabulary
from semla_ros.prepare.bundler.navigator_parts import Navigator
from semla_ros.prepare.bundler.transformers.checkpoint import (
    CONFIG,
    PROCESSOR,
    empty_network,
    read_config,
    weights_of,
)
from semla_ros.prepare.bundler.transformers.export import export_segmenter
from semla_ros.prepare.bundler.transformers.heads import KINDS, Segmenter
from semla_ros.prepare.bundler.transformers.layers import Layer, adaptable_layers
from semla_ros.prepare.bundler.transformers.processor import read_processor
from semla_ros.prepare.bundler.verify import compare_navigator
from semla_ros.prepare.bundler.writer import (
    Check,
    new_bundle,
    state_identity,
    write_navigator,
)

FAMILY = "transformers"
CHECKPOINT = "checkpoint"
"""Folder of the two files that make a network of weights."""
TOLERANCE = 1e-4
"""Largest difference of the exported graph from the network, relative to the largest value."""
EQUAL_LABELS = 0.999
"""Share of equal labels that is enough where masks of queries pass a threshold inside."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HubParts:
    """What a bundle is made of.

    Attributes:
        name: What people call the model.
        model_type: A key of `KINDS`.
        segmenter: The network, in evaluation mode.
        state: Its weights as the library names them.
        folder: Holds its configuration and its image processor.
        layers: What adapters may change.
        size: (H, W) of the image.
        vocabulary: Its classes.
        defaults: Adaptation settings.
        navigator: None: explicit mixes only; a bundle: as it has it.
        base_names: See `Manifest`.
    """

    name: str
    model_type: str
    segmenter: Segmenter
    state: Mapping[str, Tensor]
    folder: Path
    layers: tuple[Layer, ...]
    size: tuple[int, int]
    vocabulary: Vocabulary
    defaults: AdaptationDefaults
    navigator: Navigator = None
    base_names: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """What adapters of this network carry."""
        return state_identity(self.state, prefix=self.model_type)

    def trained(self, name: str) -> HubParts:
        """Return the parts around the network as it is now; adapters of the old one do not fit."""
        return replace(
            self,
            name=name,
            state=weights_of(self.segmenter.network),
            defaults=replace(self.defaults, calibration=None),
            base_names=(name,),
        )


def write_hub_bundle(
    out: Path, parts: HubParts, *, library: Path | None = None, check: Check | None = None
) -> ModelBundle:
    """Return the bundle written to the new folder `out`, see `new_bundle`.

    Raises:
        TrainingError: torch does not export the network, or the graph does not answer as it does.
        BundleError: `out` exists, or cannot be written.
    """

    def checked(bundle: ModelBundle) -> None:
        compare_with_network(bundle, parts)
        if check is not None:
            check(bundle)

    return new_bundle(out, partial(_fill, parts=parts), library=library, check=checked)


def read_hub_bundle(bundle: ModelBundle) -> HubParts:
    """Return the parts of `bundle`, whose navigator stays its own.

    Raises:
        TrainingError: The network's configuration is missing or unusable.
        BundleError: Its weights are.
    """
    manifest, folder = bundle.manifest, bundle.root / CHECKPOINT
    network = empty_network(config := read_config(folder))
    try:
        network.load_state_dict(load_file(str(bundle.weights)))
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BundleError(
            f"{bundle.weights.name} does not fit {CHECKPOINT}/{CONFIG} ({reason}): made with "
            "another transformers?"
        ) from error
    convolutions = [layer.name for layer in manifest.layers if layer.kernel]
    return HubParts(
        name=manifest.name,
        model_type=config.model_type,
        segmenter=Segmenter(
            network, KINDS[config.model_type], read_processor(folder).pixels
        ).eval(),
        state=weights_of(network),
        folder=folder,
        layers=tuple(adaptable_layers(network, touched=convolutions)),
        size=manifest.segmentation.shape,
        vocabulary=manifest.vocabulary,
        defaults=manifest.defaults,
        navigator=bundle if manifest.navigator else None,
        base_names=manifest.base_names,
    )


def compare_with_network(bundle: ModelBundle, parts: HubParts) -> None:
    """Return if the graphs answer seeded noise as the networks do.

    Raises:
        TrainingError: One does not.
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
    compare_navigator(bundle, parts.navigator)


def _fill(root: Path, *, parts: HubParts) -> None:
    kind, (height, width) = KINDS[parts.model_type], parts.size
    graph = root / "segmentation.onnx"
    layers = export_segmenter(
        parts.segmenter, graph, parts.layers, size=parts.size, any_size=kind.any_size
    )
    weights = root / "weights.safetensors"
    save_file(dict(parts.state), str(weights), metadata={"format": "pt"})
    shutil.copymode(graph, weights)  # safetensors writes for the owner alone
    (root / CHECKPOINT).mkdir()
    for name in (CONFIG, PROCESSOR):
        shutil.copyfile(parts.folder / name, root / CHECKPOINT / name)
    navigator = write_navigator(root, parts.navigator, base_model=parts.identity, shape=parts.size)
    files = {
        str(p.relative_to(root)): file_sha256(p) for p in sorted(root.rglob("*")) if p.is_file()
    }
    manifest = Manifest(
        name=parts.name,
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
        defaults=parts.defaults,
        layers=tuple(layers),
        files=files,
        base_names=parts.base_names,
    )
    write_manifest(root, manifest)
