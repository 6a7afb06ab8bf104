"""A bundle's network as training sees it: images and prompts in, class maps out.

What differs between families is here: how a network is called, what its maps are, and how it is
read from a bundle and written into one again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from semla_ros.bundle import SCORES, SIGMOID, ModelBundle
from semla_ros.core.errors import BundleError, EngineUnavailableError, TrainingError
from semla_ros.core.types import Float32Array
from semla_ros.engine.text import TextEncoder
from semla_ros.engine.torch_engine import load_network
from semla_ros.network.catseg import CatSeg
from semla_ros.prepare.bundler.rewrite import parts_of
from semla_ros.prepare.bundler.transformers.heads import KINDS, Segmenter
from semla_ros.prepare.bundler.transformers.hub_bundle import (
    HubParts,
    read_hub_bundle,
    write_hub_bundle,
)
from semla_ros.prepare.bundler.writer import Check, write_bundle
from semla_ros.prepare.training.recipe import DOUBLED_TAP


class TrainedNetwork(nn.Module, ABC):
    """A network that reads prompts or has classes of its own.

    Attributes:
        model: The network, whose layers have the names that adapters know.
        size: (H, W) of its image.
        activation: What its class maps are, see `SegmentationSpec`: `sigmoid` or `softmax`.
        tokens: (T, L), prompts of the bundle's classes; (0, 0) where it reads none.
    """

    model: nn.Module
    size: tuple[int, int]
    activation: str
    tokens: Tensor

    @abstractmethod
    def forward(self, image: Tensor, tokens: Tensor) -> Tensor:
        """Return class maps (B, T, h, w) of RGB 0..255 (B, 3, H, W) and prompts (T, L)."""

    @abstractmethod
    def write(self, out: Path, *, name: str, check: Check | None = None) -> ModelBundle:
        """Return a bundle around the network as it is now, without adapters.

        What was calibrated on the masks it had before is left out.
        """


class CatSegNetwork(TrainedNetwork):
    """CAT-Seg: prompts are read anew in every step, for adapters change the text tower, too."""

    second_tap: Tensor | None

    def __init__(
        self, model: CatSeg, bundle: ModelBundle | None = None, *, doubled_tap: bool = False
    ) -> None:
        """Keep `model`.

        Args:
            model: The network.
            bundle: Where it is from; None: it is in none yet.
            doubled_tap: Read the first tap twice, as the original trains adapters.
        """
        super().__init__()
        side = model.config.resolution
        self.model: CatSeg = model
        self.size, self.activation = (side, side), SIGMOID
        self.tokens = torch.zeros(0, 0, dtype=torch.int64) if bundle is None else _tokens(bundle)
        self._bundle = bundle
        tap = torch.tensor([1]) if doubled_tap else None
        self.register_buffer("second_tap", tap, persistent=False)

    def forward(self, image: Tensor, tokens: Tensor) -> Tensor:
        """Return logits (B, T, h, w), see `TrainedNetwork`."""
        out: Tensor = self.model(image, self.model.encode_text(tokens), self.second_tap)
        return out

    def write(self, out: Path, *, name: str, check: Check | None = None) -> ModelBundle:
        """Return the bundle, see `TrainedNetwork`."""
        if self._bundle is None:
            raise BundleError("expected a network of a bundle to write, got one without")
        model = self.model.cpu().requires_grad_(False).eval()
        parts = parts_of(self._bundle, model, name=name)
        defaults = replace(parts.defaults, calibration=None)
        return write_bundle(out, replace(parts, defaults=defaults), check=check)


class HubNetwork(TrainedNetwork):
    """A network of transformers with one softmax over its classes.

    It trains as it serves: dropout and drop path would be drawn by chance, where a step is decided
    by its number, and the running statistics of batch norms are no parameters, so neither a
    checkpoint nor an adapter would hold them.
    """

    def __init__(self, parts: HubParts) -> None:
        super().__init__()
        self.segmenter: Segmenter = parts.segmenter
        self.model = parts.segmenter.network
        self.size, self.activation = parts.size, KINDS[parts.model_type].activation
        self.tokens = torch.zeros(0, 0, dtype=torch.int64)
        self._parts = parts
        self.eval()

    def train(self, mode: bool = True) -> HubNetwork:
        """Stay in evaluation mode."""
        super().train(False)
        return self

    def forward(self, image: Tensor, tokens: Tensor) -> Tensor:
        """Return logits (B, T, h, w), see `TrainedNetwork`."""
        out: Tensor = self.segmenter(image)
        return out

    def write(self, out: Path, *, name: str, check: Check | None = None) -> ModelBundle:
        """Return the bundle, see `TrainedNetwork`."""
        self.segmenter.cpu().requires_grad_(False)
        return write_hub_bundle(out, self._parts.trained(name), check=check)


def trained_network(bundle: ModelBundle, *, habits: Collection[str] = ()) -> TrainedNetwork:
    """Return the network of `bundle` with its base weights, float32.

    Args:
        bundle: Of any family that can be trained here.
        habits: Of the original training, see `Recipe.official`; CAT-Seg has them alone.

    Raises:
        TrainingError: The bundle holds graphs and no weights that make a network, or one whose
            loss is not of single pixels.
    """
    manifest = bundle.manifest
    if manifest.segmentation.activation == SCORES:
        raise TrainingError(
            f"bundle {manifest.name!r} is not trained here: its network learns by matching "
            "masks to queries; train adapters with PEFT, then: semla library add"
        )
    if habits and manifest.text is None:
        raise TrainingError(
            f"expected no habits of the original training for family {manifest.family!r}, got "
            f"{list(habits)!r}: they are those of CAT-Seg"
        )
    try:
        if manifest.text is None:
            return HubNetwork(read_hub_bundle(bundle))
        return CatSegNetwork(load_network(bundle), bundle, doubled_tap=DOUBLED_TAP in habits)
    except (BundleError, EngineUnavailableError, TrainingError) as error:
        raise TrainingError(
            f"bundle {manifest.name!r} cannot be trained ({error}): expected the weights of "
            "a network; import one: semla bundle import --family "
            f"{manifest.family} --checkpoint FILE"
        ) from error


def _tokens(bundle: ModelBundle) -> Tensor:
    encoder = TextEncoder(bundle, tower=_no_tower)
    return torch.from_numpy(encoder.tokens(bundle.manifest.vocabulary).copy())


def _no_tower(tokens: npt.NDArray[np.int64], _: object) -> Float32Array:
    return np.zeros((len(tokens), 0), np.float32)
