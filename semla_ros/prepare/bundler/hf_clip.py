"""CLIP's towers from transformers' layout into open_clip's."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from semla_ros.core.errors import TrainingError

_PREFIX, _TEXT_PREFIX = "vision_model.", "text_model."
_NAMES: Mapping[str, str] = {
    r"^embeddings\.class_embedding$": "class_embedding",
    r"^embeddings\.patch_embedding\.": "conv1.",
    r"^embeddings\.token_embedding\.": "token_embedding.",
    r"^embeddings\.position_embedding\.weight$": "positional_embedding",
    r"^pre_layrnorm\.": "ln_pre.",
    r"^post_layernorm\.": "ln_post.",
    r"^final_layer_norm\.": "ln_final.",
    r"^encoder\.layers\.": "transformer.resblocks.",
    r"\.self_attn\.q_proj\.": ".attn.in_proj_",
    r"\.self_attn\.out_proj\.": ".attn.out_proj.",
    r"\.layer_norm([12])\.": r".ln_\1.",
    r"\.mlp\.fc1\.": ".mlp.c_fc.",
    r"\.mlp\.fc2\.": ".mlp.c_proj.",
}
"""transformers' name -> open_clip's; q, k and v are one tensor there."""

_LEFT_OUT = re.compile(r"embeddings\.position_ids|.*\.self_attn\.[kv]_proj\..*")


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
    tower = {f"visual.{key}": t for key, t in _tower(state, _PREFIX).items()}
    return {"visual.proj": state["visual_projection.weight"].T.contiguous(), **tower}


def text_tower_from_hf(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the text tower under open_clip's names; empty where the file has none.

    Raises:
        TrainingError: A part of an attention is missing.
    """
    tower = _tower(state, _TEXT_PREFIX)
    if "text_projection.weight" in state:
        tower["text_projection"] = state["text_projection.weight"].T.contiguous()
    return tower


def _tower(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for key, tensor in state.items():
        name = key.removeprefix(prefix)
        if not key.startswith(prefix) or _LEFT_OUT.fullmatch(name):
            continue
        value = _fused(state, key) if ".self_attn.q_proj." in name else tensor
        for theirs, ours in _NAMES.items():
            name = re.sub(theirs, ours, name)
        found[name] = value
    return found


def _fused(state: Mapping[str, Tensor], query: str) -> Tensor:
    keys = [query.replace("q_proj", f"{letter}_proj") for letter in "qkv"]
    missing = [key for key in keys if key not in state]
    if missing:
        raise TrainingError(f"expected {missing!r} beside {query!r}: the file is damaged")
    return torch.cat([state[key] for key in keys])
