"""Low-rank changes of a network's layers: put on for training, taken off again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from semla_ros.core.errors import TrainingError
from semla_ros.core.types import Float32Array, LoraAdapter, LoraLayer
from semla_ros.network.clip import Attention
from semla_ros.prepare.training.initial import Start
from semla_ros.prepare.training.recipe import Recipe
from semla_ros.prepare.training.schedule import Group

_NARROW = 12
"""Up to so many times rank * (in + out) weights, the weight itself is changed; beyond, a second
path runs beside the layer. Per token the gradient of a weight costs 2 * in * out operations, the
path 6 * rank * (in + out) and the memory for its results, which decides for narrow layers."""


class LowRank(nn.Module):
    """scaling * sum of b @ a, added to what a layer's weight does."""

    def __init__(self, start: Start) -> None:
        super().__init__()
        self.scaling = start.scaling
        self.a = nn.ParameterList(
            [nn.Parameter(torch.from_numpy(p.a.copy())) for p in start.pairs]
        )
        self.b = nn.ParameterList(
            [nn.Parameter(torch.from_numpy(p.b.copy())) for p in start.pairs]
        )

    @property
    def rank(self) -> int:
        """Of all pairs together."""
        return sum(a.shape[0] for a in self.a)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the changed weight: (out, in), of a convolution (out, in, height, width)."""
        change = torch.cat([*self.b], dim=1) @ torch.cat([*self.a])
        return weight + self.scaling * change.view_as(weight)

    def beside(self, x: Tensor, out: Tensor) -> Tensor:
        """Return `out` (..., out) of the frozen layer plus what the change makes of `x`."""
        small = functional.linear(x, torch.cat([*self.a]))
        return out + self.scaling * functional.linear(small, torch.cat([*self.b], dim=1))

    def layer(self) -> LoraLayer:
        """Return the factors as they are now, all pairs stacked."""
        a = torch.cat([*self.a]).detach().float().cpu().numpy()
        b = torch.cat([*self.b], dim=1).detach().float().cpu().numpy()
        return LoraLayer(np.array(a, np.float32), np.array(b, np.float32), self.scaling)


@dataclass(frozen=True, slots=True)
class Attached:
    """Changes that are on a network.

    Attributes:
        changes: Layer name -> its change.
        starts: Layer name -> where it started.
    """

    changes: Mapping[str, LowRank]
    starts: Mapping[str, Start]

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return every trained parameter by name."""
        return {
            f"{layer}.{name}": parameter
            for layer, change in self.changes.items()
            for name, parameter in change.named_parameters()
        }

    def groups(self, recipe: Recipe) -> tuple[Group, ...]:
        """Return the main pairs, and the sub pairs at their own rate."""
        pairs = [
            [p for change in self.changes.values() for p in (change.a[i], change.b[i])]
            for i in range(max(len(change.a) for change in self.changes.values()))
        ]
        rates = (1.0, recipe.sub_rate) if recipe.rank else (recipe.sub_rate,)
        return tuple(
            Group(tuple(found), rate, recipe.weight_decay)
            for found, rate in zip(pairs, rates, strict=False)
        )


StartOf = Callable[[str, Float32Array], Start]
"""From the name and W0 (out, in) of a layer to where it starts; of a convolution `in` is in
* height * width."""


@contextmanager
def attached(model: nn.Module, layers: Sequence[str], start_of: StartOf) -> Iterator[Attached]:
    """Yield changes of `layers`, the rest frozen; afterwards the network is as it came.

    Raises:
        TrainingError: A layer is neither linear nor a plain convolution, or cannot have these
            ranks.
    """
    weights = {layer: _weight(model, layer) for layer in layers}
    frozen = {name: p.requires_grad for name, p in model.named_parameters()}
    starts = {layer: start_of(layer, _array(weights[layer])) for layer in layers}
    before = {layer: weights[layer].detach().clone() for layer in layers if starts[layer].recycled}
    takers: list[Callable[[], None]] = []
    model.requires_grad_(False)
    try:
        changes = {
            layer: LowRank(start).to(weights[layer].device) for layer, start in starts.items()
        }
        for layer, change in changes.items():
            if layer in before:
                residual = starts[layer].residual(_array(before[layer]))
                weights[layer].data.copy_(torch.from_numpy(residual).view_as(weights[layer]))
            takers.append(_attach(model, layer, change))
        yield Attached(changes, starts)
    finally:
        for take_off in takers:
            take_off()
        for layer, weight in before.items():
            _weight(model, layer).data.copy_(weight)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(frozen[name])
        model.eval()


def adapter_of(attached_: Attached, *, name: str, base_model: str) -> LoraAdapter:
    """Return the trained change relative to W0 as a plain LoRA, exact in float32.

    What started inside W0 left s B0 A0 out of it: [B, -B0] [A; A0] has it in again, at twice the
    rank and so twice the alpha.
    """
    layers = {}
    for layer, change in attached_.changes.items():
        now, start = change.layer(), attached_.starts[layer]
        if start.recycled:
            first = start.stacked
            now = LoraLayer(
                np.concatenate([now.lora_a, first.a]),
                np.concatenate([now.lora_b, -first.b], axis=1),
                now.scaling,
            )
        layers[layer] = now
    return LoraAdapter(name, layers, base_model)


def _attach(model: nn.Module, layer: str, change: LowRank) -> Callable[[], None]:
    """Put `change` on a layer and return what takes it off."""
    owner, parameter = _owner(model, layer)
    out_features, in_features = getattr(owner, parameter).flatten(1).shape
    wide = _NARROW * change.rank * (in_features + out_features)
    if not isinstance(owner, nn.Linear) or in_features * out_features <= wide:
        parametrize.register_parametrization(owner, parameter, change)
        return lambda: _remove(owner, parameter)

    def add(_: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
        return change.beside(inputs[0], out)

    return owner.register_forward_hook(add).remove


def _remove(owner: nn.Module, parameter: str) -> None:
    parametrize.remove_parametrizations(owner, parameter, leave_parametrized=False)


def _owner(model: nn.Module, layer: str) -> tuple[nn.Module, str]:
    """Return the module that reads a layer's weight, and the weight's name in it."""
    parent, _, leaf = layer.rpartition(".")
    modules = dict(model.named_modules())
    owner = modules.get(parent)
    if isinstance(owner, Attention) and leaf in ("q_proj", "k_proj", "v_proj"):
        return owner, f"{leaf}_weight"
    module = modules.get(layer)
    if isinstance(module, nn.Conv2d) and module.groups == 1:
        return module, "weight"
    if not isinstance(module, nn.Linear):
        kind = type(module).__name__ if module is not None else "no module of that name"
        raise TrainingError(f"expected a linear layer {layer!r} or a convolution, got {kind}")
    return module, "weight"


def _weight(model: nn.Module, layer: str) -> Tensor:
    owner, parameter = _owner(model, layer)
    weight: Tensor = getattr(owner, parameter)
    return weight


def _array(tensor: Tensor) -> Float32Array:
    return np.array(tensor.detach().float().flatten(1).cpu().numpy(), dtype=np.float32)
