"""LoRA training: low-rank changes of the adaptable layers, everything else frozen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from semla_ros.core.errors import TrainingError
from semla_ros.core.types import Float32Array, LoraAdapter, LoraLayer
from semla_ros.network.catseg import CatSeg
from semla_ros.prepare.training.samples import LabelledImages
from semla_ros.prepare.training.segmentation import FitOptions, Prompts, fit


@dataclass(frozen=True, slots=True)
class LoraOptions:
    """Rank and alpha; delta = alpha / rank * B @ A. Source: SemLA, rank 8, alpha 16."""

    rank: int = 8
    alpha: int = 16

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha < 1:
            raise TrainingError(f"expected rank and alpha >= 1, got {self.rank!r}, {self.alpha!r}")


class LowRank(nn.Module):
    """Adds scaling * B @ A to a weight wherever it is read.

    Because the layer itself reads the changed weight, what is trained is what merging gives; the
    original training's dead q/k/v adapters cannot happen.
    """

    def __init__(self, weight: Tensor, options: LoraOptions, generator: torch.Generator) -> None:
        super().__init__()
        out_features, in_features = weight.shape
        self.scaling = options.alpha / options.rank
        self.lora_a = nn.Parameter(torch.empty(options.rank, in_features))
        self.lora_b = nn.Parameter(torch.zeros(out_features, options.rank))
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5), generator=generator)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the changed weight (out, in)."""
        return weight + self.scaling * (self.lora_b @ self.lora_a)


def train_adapter(
    model: CatSeg,
    layers: Sequence[str],
    source: LabelledImages,
    prompts: Prompts,
    *,
    name: str,
    base_model: str,
    options: FitOptions,
    lora: LoraOptions | None = None,
) -> LoraAdapter:
    """Return an adapter of `layers` trained on `source`; the model is left as it came.

    Args:
        model: The base network.
        layers: Module names of linear layers, as in adapter files.
        source: Labelled images of one domain.
        prompts: Draws the class prompts.
        name: The domain.
        base_model: Identity that the adapter will carry.
        options: How long and how fast.
        lora: Rank and alpha.

    Raises:
        TrainingError: A layer is not linear, or training diverged.
    """
    settings = lora or LoraOptions()
    generator = torch.Generator().manual_seed(options.seed)
    frozen = {key: p.requires_grad for key, p in model.named_parameters()}
    model.requires_grad_(False)
    low_rank = {layer: _attach(model, layer, settings, generator) for layer in layers}
    try:
        parameters = [p for change in low_rank.values() for p in change.parameters()]
        fit(model, parameters, source, prompts, options)
        trained = {layer: _lora_layer(change) for layer, change in low_rank.items()}
    finally:
        for layer in low_rank:
            parametrize.remove_parametrizations(
                model.get_submodule(layer), "weight", leave_parametrized=False
            )
        for key, parameter in model.named_parameters():
            parameter.requires_grad_(frozen[key])
        model.eval()
    return LoraAdapter(name, trained, base_model)


def _attach(
    model: CatSeg, layer: str, options: LoraOptions, generator: torch.Generator
) -> LowRank:
    module = model.get_submodule(layer)
    if not isinstance(module, nn.Linear):
        raise TrainingError(f"expected a linear layer {layer!r}, got {type(module).__name__}")
    change = LowRank(module.weight, options, generator)
    parametrize.register_parametrization(module, "weight", change)
    return change


def _lora_layer(change: LowRank) -> LoraLayer:
    return LoraLayer(_array(change.lora_a), _array(change.lora_b), change.scaling)


def _array(factor: nn.Parameter) -> Float32Array:
    return np.array(factor.detach().numpy(), dtype=np.float32)
