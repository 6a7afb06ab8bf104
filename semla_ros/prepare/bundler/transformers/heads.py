"""From the answer of a network of transformers to one map per class, as the library makes them.

Rescaling and normalisation of the image processor are part of it: a graph takes RGB 0..255.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from semla_ros.bundle import SCORES, SOFTMAX
from semla_ros.core.errors import TrainingError

Foreign: TypeAlias = Any
"""An object of transformers, which is there at build time alone: its types may not be."""

Answer = Callable[[Foreign, Tensor], Tensor]
"""From network and normalised images (B, 3, H, W) to class maps (B, T, h, w)."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What is known of the networks of one `model_type`.

    Attributes:
        answer: Runs the network.
        activation: What its class maps are, see `SegmentationSpec`.
        square: It takes square images of its own side alone.
        any_size: One graph serves every batch and image size.
    """

    answer: Answer
    activation: str
    square: bool = False
    any_size: bool = False


def _logits(network: Foreign, pixels: Tensor) -> Tensor:
    logits: Tensor = network(pixel_values=pixels).logits
    return logits


def _upernet(network: Foreign, pixels: Tensor) -> Tensor:
    """Return the logits before the library enlarges them to the image's size."""
    maps = network.backbone.forward_with_filtered_kwargs(pixels).feature_maps
    logits: Tensor = network.decode_head(maps)
    return logits


def _of_queries(network: Foreign, pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Return sums over queries of class probability times mask, the masks at `size` (h, w).

    Source: transformers, post_process_semantic_segmentation.
    """
    answer = network(pixel_values=pixels)
    masks = functional.interpolate(answer.masks_queries_logits, size=size, mode="bilinear")
    classes = answer.class_queries_logits.softmax(dim=-1)[..., :-1]
    return torch.einsum("bqc,bqhw->bchw", classes, masks.sigmoid())


def _mask2former(network: Foreign, pixels: Tensor) -> Tensor:
    return _of_queries(network, pixels, (384, 384))  # whatever the image's size, as the library


def _eomt(network: Foreign, pixels: Tensor) -> Tensor:
    return _of_queries(network, pixels, (int(pixels.shape[2]), int(pixels.shape[3])))


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "segformer": Kind(_logits, SOFTMAX, any_size=True),
        "upernet": Kind(_upernet, SOFTMAX),
        "dpt": Kind(_logits, SOFTMAX, square=True),
        "mask2former": Kind(_mask2former, SCORES),
        "eomt": Kind(_eomt, SCORES, square=True),
    }
)
"""`model_type` of a configuration -> what is known of its networks."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """How an image processor makes a network's input of RGB 0..255.

    Attributes:
        mean, std: Per channel, of rescaled values.
        rescale: Factor on 0..255.
    """

    mean: Sequence[float] = (0.0, 0.0, 0.0)
    std: Sequence[float] = (1.0, 1.0, 1.0)
    rescale: float = 1.0


class Segmenter(nn.Module):
    """A network with its image processor in front and its post-processing behind."""

    def __init__(self, network: nn.Module, kind: Kind, pixels: Pixels) -> None:
        super().__init__()
        self.network = network
        self._answer = kind.answer
        std = torch.tensor(pixels.std).view(1, 3, 1, 1)
        self.scale = nn.Buffer(pixels.rescale / std, persistent=False)
        self.shift = nn.Buffer(-torch.tensor(pixels.mean).view(1, 3, 1, 1) / std, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return class maps (B, T, h, w) of RGB 0..255 images (B, 3, H, W)."""
        return self._answer(self.network, image * self.scale + self.shift)


def make_exportable(network: nn.Module) -> None:
    """Change what an exporter cannot follow; the answers stay.

    EoMT asks a buffer, block by block, whether masks attend. Trained networks hold 0 there.

    Raises:
        TrainingError: Its masks attend by chance, as in the midst of training.
    """
    probabilities = getattr(network, "attn_mask_probs", None)
    if not isinstance(probabilities, Tensor):
        return
    values = [float(value) for value in probabilities]
    if any(0 < value < 1 for value in values):
        raise TrainingError(
            f"expected attn_mask_probs of 0 or 1, got {values!r}: between them every answer is "
            "drawn by chance; set them to 0 and save the checkpoint again"
        )
    del network.attn_mask_probs
    network.attn_mask_probs = values  # type: ignore[assignment]
