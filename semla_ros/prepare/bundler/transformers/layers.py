"""Which weights of a network adapters may change, and under which names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import nn

from semla_ros.prepare.bundler.transformers.heads import Foreign


@dataclass(frozen=True, slots=True)
class Layer:
    """A linear or convolution layer.

    Attributes:
        name: Module name in the installed transformers, as PEFT writes it.
        aliases: Other names of it: that of files made by transformers 4.
        out, inner: Shape of its weight seen as a matrix.
        kernel: (in channels, height, width) of a convolution, () of a linear layer.
    """

    name: str
    aliases: tuple[str, ...]
    out: int
    inner: int
    kernel: tuple[int, int, int] | tuple[()] = ()


def adaptable_layers(network: Foreign, *, touched: Collection[str] = ()) -> list[Layer]:
    """Return every linear layer, and the convolutions among `touched`, in the network's order.

    Convolution weights that can change cost ONNX Runtime 9 to 22 % of a frame, linear ones
    nothing, so a convolution is adaptable only where an adapter needs it. Attention that holds
    one fused weight, grouped and transposed convolutions are not adaptable, as in PEFT.

    Args:
        network: A `PreTrainedModel`.
        touched: Names of layers that adapters change, old or new.
    """
    older = older_names(network)
    wanted = set(touched)
    found: list[Layer] = []
    fused = {name for name, m in network.named_modules() if isinstance(m, nn.MultiheadAttention)}
    for name, module in network.named_modules():
        if name.rpartition(".")[0] in fused:
            continue
        aliases = tuple({older[name]} - {name}) if name in older else ()
        if isinstance(module, nn.Linear):
            found.append(Layer(name, aliases, module.out_features, module.in_features))
        elif isinstance(module, nn.Conv2d) and module.groups == 1 and wanted & {name, *aliases}:
            out, *kernel = module.weight.shape
            channels, height, width = kernel
            shape = (int(channels), int(height), int(width))
            found.append(Layer(name, aliases, int(out), channels * height * width, shape))
    return found


def older_names(network: Foreign) -> dict[str, str]:
    """Return module name -> its name in files, for modules whose weight has one of its own.

    A file name that two modules would share means neither.
    """
    from transformers.core_model_loading import revert_weight_conversion

    modules = [name for name, module in network.named_modules() if hasattr(module, "weight")]
    places = {f"{name}.weight": torch.tensor([place]) for place, name in enumerate(modules)}
    renamed = {
        int(place): key.removesuffix(".weight")
        for key, place in revert_weight_conversion(network, places).items()
        if place.numel() == 1
    }
    uses = Counter(renamed.values())
    return {modules[place]: name for place, name in renamed.items() if uses[name] == 1}
