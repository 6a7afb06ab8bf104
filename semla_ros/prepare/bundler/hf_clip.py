"""CLIP's towers from transformers' layout into open_clip's."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from semla_ros.core.errors import TrainingError

_PREFIX, _TEXT_PREFIX = "vision_model.", "text_model."
_LAYER = re.compile(r"encoder\.layers\.(\d+)\.(.+)")
_OUTSIDE: Mapping[str, str] = {
    "embeddings.class_embedding": "class_embedding",
    "embeddings.patch_embedding.weight": "conv1.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "pre_layrnorm": "ln_pre",
    "post_layernorm": "ln_post",
}
_TEXT_OUTSIDE: Mapping[str, str] = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm": "ln_final",
}
_INSIDE: Mapping[str, str] = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_IGNORED = "embeddings.position_ids"


def is_hf_clip(state: Mapping[str, Tensor]) -> bool:
    """Return whether `state` is a CLIP as transformers saves it."""
    return f"{_PREFIX}embeddings.class_embedding" in state


def vision_tower_from_hf(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the image tower under open_clip's names, `visual.` in front.

    Raises:
        TrainingError: The projection or a part of an attention is missing.
    """
    if "visual_projection.weight" not in state:
        raise TrainingError(
            "expected 'visual_projection.weight' beside 'vision_model.*', found none: give the "
            "whole CLIP, not its vision model alone"
        )
    tower = {f"visual.{key}": t for key, t in _tower(state, _PREFIX, _OUTSIDE).items()}
    return {"visual.proj": state["visual_projection.weight"].T.contiguous(), **tower}


def text_tower_from_hf(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the text tower under open_clip's names; empty where the file has none.

    Raises:
        TrainingError: A part of an attention is missing.
    """
    tower = _tower(state, _TEXT_PREFIX, _TEXT_OUTSIDE)
    if "text_projection.weight" in state:
        tower["text_projection"] = state["text_projection.weight"].T.contiguous()
    return tower


def _tower(
    state: Mapping[str, Tensor], prefix: str, outside: Mapping[str, str]
) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for key, tensor in state.items():
        inner = key.removeprefix(prefix)
        if not key.startswith(prefix) or inner == _IGNORED or ".self_attn.k_proj." in inner:
            continue
        layer = _LAYER.fullmatch(inner)
        if layer is None:
            found[_renamed(inner, outside)] = tensor
            continue
        block, rest = f"transformer.resblocks.{layer[1]}", layer[2]
        if rest.startswith("self_attn.q_proj."):
            kind = rest.rpartition(".")[2]
            found[f"{block}.attn.in_proj_{kind}"] = _fused(state, key)
        elif not rest.startswith("self_attn.v_proj."):
            found[f"{block}.{_renamed(rest, _INSIDE)}"] = tensor
    return found


def _fused(state: Mapping[str, Tensor], query: str) -> Tensor:
    keys = [query.replace("q_proj", f"{letter}_proj") for letter in "qkv"]
    missing = [key for key in keys if key not in state]
    if missing:
        raise TrainingError(f"expected {missing!r} beside {query!r}: the file is damaged")
    return torch.cat([state[key] for key in keys])


def _renamed(key: str, names: Mapping[str, str]) -> str:
    for theirs, ours in names.items():
        if key == theirs or key.startswith(f"{theirs}."):
            return ours + key.removeprefix(theirs)
    return key
