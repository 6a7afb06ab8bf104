"""Fresh weights: CLIP's scheme for the towers, fan-in for the aggregator."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import init

from semla_ros.network.clip import Clip, Transformer

_TOKEN_STD = 0.02
_POSITION_STD = 0.01


@torch.no_grad()
def initialise_clip(clip: Clip) -> None:
    """Fill both towers in place.

    Source: Radford et al. 2021; residual projections shrink with depth.
    """
    visual = clip.visual
    width = visual.class_embedding.shape[0]
    init.normal_(visual.class_embedding, std=width**-0.5)
    init.normal_(visual.positional_embedding, std=width**-0.5)
    init.normal_(visual.proj, std=width**-0.5)
    init.normal_(clip.token_embedding.weight, std=_TOKEN_STD)
    init.normal_(clip.positional_embedding, std=_POSITION_STD)
    init.normal_(clip.text_projection, std=clip.text_projection.shape[0] ** -0.5)
    _initialise_transformer(visual.transformer, width)
    _initialise_transformer(clip.transformer, clip.text_projection.shape[0])


@torch.no_grad()
def initialise_aggregator(aggregator: nn.Module) -> None:
    """Fill every linear layer in place; convolutions keep torch's own initialisation.

    Normal of variance 1 / fan-in, zero bias: Swin's fixed 0.02 all but silences layers as narrow
    as a small model's, and training then starts on a plateau.
    """
    for module in aggregator.modules():
        if isinstance(module, nn.Linear):
            init.normal_(module.weight, std=module.in_features**-0.5)
            init.zeros_(module.bias)


def _initialise_transformer(transformer: Transformer, width: int) -> None:
    depth = len(transformer.resblocks)
    attention_std = width**-0.5
    projection_std = attention_std * (2 * depth) ** -0.5
    hidden_std = (2 * width) ** -0.5
    for name, parameter in transformer.named_parameters():
        if name.endswith(("q_proj_weight", "k_proj_weight", "v_proj_weight")):
            init.normal_(parameter, std=attention_std)
        elif name.endswith(("out_proj.weight", "c_proj.weight")):
            init.normal_(parameter, std=projection_std)
        elif name.endswith("c_fc.weight"):
            init.normal_(parameter, std=hidden_std)
        elif name.endswith("bias"):
            init.zeros_(parameter)
