"""Store chosen weights (in, out), so that an exported MatMul reads the stored tensor itself.

torch keeps linear weights (out, in); an exporter then writes a transposed, renamed copy. With the
(in, out) layout the graph's initializer is the parameter, under its own name.
"""

from __future__ import annotations

import copy
from collections.abc import Collection

import torch
from torch import Tensor, nn

from semla_ros.core.errors import TrainingError
from semla_ros.network.catseg import CatSeg
from semla_ros.network.clip import Attention


class InOutLinear(nn.Module):
    """A linear layer whose weight is stored (in, out)."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features = linear.in_features
        self.out_features = linear.out_features
        self.weight = nn.Parameter(linear.weight.detach().T.contiguous())
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., out) of `x` (..., in)."""
        product = x @ self.weight
        return product if self.bias is None else product + self.bias


def with_in_out_linears(model: CatSeg, names: Collection[str]) -> CatSeg:
    """Return a copy of `model` whose named layers store their weight (in, out).

    Keys of the state dict stay as they are; only the shapes of the named weights are reversed.

    Args:
        model: the network; left unchanged.
        names: module names as in `AdaptableLayer.name`, CLIP's `attn.q_proj` among them.

    Raises:
        TrainingError: a name is no linear layer of the network.
    """
    changed = copy.deepcopy(model)
    modules = dict(changed.named_modules())
    for name in names:
        parent = modules.get(name.rpartition(".")[0])
        leaf = name.rpartition(".")[2]
        linear = modules.get(name)
        if isinstance(parent, Attention) and leaf in ("q_proj", "k_proj", "v_proj"):
            _reverse_projection(parent, f"{leaf}_weight")
        elif parent is not None and isinstance(linear, nn.Linear):
            setattr(parent, leaf, InOutLinear(linear))
        else:
            raise TrainingError(
                f"expected the name of a linear layer, got {name!r}; "
                "take names from adaptable_layers(config)"
            )
    return changed


def _reverse_projection(attention: Attention, name: str) -> None:
    if name in attention.stored_in_out:
        return
    with torch.no_grad():
        weight = attention.get_parameter(name).T.contiguous()
    setattr(attention, name, nn.Parameter(weight))
    attention.stored_in_out |= {name}
