"""Image encoders of others as navigators: any open_clip model, or DINOv2 through timm."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from semla_ros.bundle import NavigatorSpec
from semla_ros.core.errors import TrainingError
from semla_ros.library.compatibility import PUBLISHED_ENCODER
from semla_ros.navigator.preprocess import CENTER_CROP
from semla_ros.prepare.bundler.checkpoint_reader import read_checkpoint
from semla_ros.prepare.bundler.clip import import_open_clip
from semla_ros.prepare.bundler.dinov2 import DINO_PREFIX, DINOS, load_dinov2
from semla_ros.prepare.bundler.hf_clip import is_hf_clip, vision_tower_from_hf
from semla_ros.prepare.bundler.image_tower import ImageTower, fill_tower, with_resize
from semla_ros.prepare.bundler.prompt_sets import (
    DEFAULT_SET,
    PromptSet,
    embed_prompts,
    read_prompt_set,
)
from semla_ros.prepare.bundler.text_tower import ClipText, text_tower
from semla_ros.prepare.bundler.tokenizer import openai_tokenizer
from semla_ros.prepare.bundler.writer import NavigatorParts, NavigatorText, state_identity

_LOG = logging.getLogger(__name__)
_VISUAL = "visual."


@dataclass(frozen=True, slots=True)
class _Known:
    """A short name: open_clip's model and weights, and the identity centroids were given."""

    model: str
    tag: str
    identity: str


_KNOWN: Mapping[str, _Known] = MappingProxyType(
    {"clip-vit-l-14": _Known("ViT-L-14", "openai", PUBLISHED_ENCODER)}
)


def load_navigator(
    name: str,
    checkpoint: Path | None,
    *,
    resize: str | None = None,
    prompts: str = DEFAULT_SET,
) -> NavigatorParts:
    """Return the image encoder `name` with its preprocessing, on the CPU, float32.

    Args:
        name: `clip-vit-l-14` (what SemLA's centroids were made with), `dinov2-vit-{s,b,l,g}-14`,
            or an open_clip model, alone or as `MODEL:PRETRAINED`.
        checkpoint: Its weights; CLIP in open_clip's or transformers' layout, DINOv2 in timm's or
            torch hub's; None: from the hub.
        resize: One of the navigator's `RESIZES`; None: the encoder's own, `center_crop` for CLIP
            and `eval_crop` for DINOv2. Any other needs centroids of its own.
        prompts: The words to bring along, see `read_prompt_set`.

    Raises:
        TrainingError: An unknown name, weights of another model, or none to be had.
    """
    if name.startswith(DINO_PREFIX):
        return load_dinov2(name, checkpoint, resize=resize)
    words = read_prompt_set(prompts)
    return _load_open_clip(name, checkpoint, resize=resize or CENTER_CROP, words=words)


def _load_open_clip(
    name: str, checkpoint: Path | None, *, resize: str, words: PromptSet
) -> NavigatorParts:
    open_clip = import_open_clip()
    known = _KNOWN.get(name)
    model, _, tag = (known.model, "", known.tag) if known else name.partition(":")
    config, pretrained = _configs(open_clip, model, tag)
    _require_plain_preprocessing(name, pretrained)
    quick = bool(config.get("quick_gelu") or pretrained.get("quick_gelu"))
    tower = _empty_tower(open_clip, config, quick_gelu=quick)
    path = checkpoint or _downloaded(open_clip, name, pretrained)
    whole = read_checkpoint(path)
    state = _visual_state(whole, path)
    fill_tower(tower, state, origin=path.name)
    identity = known.identity if known else f"open_clip/{name}"
    if not known and not tag:
        identity = state_identity(state, prefix=f"open_clip/{model}")
    mean, std = (tuple(pretrained.get(k) or getattr(open_clip, d)) for k, d in _STATISTICS)
    spec = NavigatorSpec(
        identity=with_resize(identity, resize, own=CENTER_CROP),
        size=_side(config["vision_cfg"].get("image_size", 224)),
        resize=resize,
        mean=mean,
        std=std,
        dim=int(config["embed_dim"]),
    )
    encode = _text_encoder(config, whole, quick_gelu=quick)
    prompts = embed_prompts(words, encode, encoder=spec.identity) if encode else None
    text = None
    if encode is not None:
        text = NavigatorText(encode.module, encode.context_length, openai_tokenizer().to_str())
    return NavigatorParts(ImageTower(tower).eval(), spec, prompts, text)


def _text_encoder(
    config: Mapping[str, Any], state: Mapping[str, Tensor], *, quick_gelu: bool
) -> ClipText | None:
    """Return the navigator's text tower, None with a warning where there is none to use."""
    try:
        return text_tower(config, state, quick_gelu=quick_gelu)
    except TrainingError as error:
        _LOG.warning("the navigator reads no text: %s", error)
        return None


_STATISTICS = (("mean", "OPENAI_DATASET_MEAN"), ("std", "OPENAI_DATASET_STD"))


def _configs(open_clip: Any, model: str, tag: str) -> tuple[dict[str, Any], dict[str, Any]]:  # noqa: ANN401
    """Return open_clip's configuration of the model, and of the weights `tag`."""
    config = open_clip.get_model_config(model)
    if config is None:
        near = difflib.get_close_matches(model, [*_KNOWN, *DINOS, *open_clip.list_models()], n=3)
        raise TrainingError(
            f"expected a navigator of open_clip, {tuple(_KNOWN)!r}, {tuple(DINOS)!r} or 'none', "
            f"got {model!r}: did you mean {near!r}?"
        )
    tags = open_clip.list_pretrained_tags_by_model(model)
    if tag and tag not in tags:
        raise TrainingError(f"navigator {model!r}: expected weights of {tags!r}, got {tag!r}")
    return dict(config), dict(open_clip.get_pretrained_cfg(model, tag) or {}) if tag else {}


def _require_plain_preprocessing(name: str, pretrained: Mapping[str, Any]) -> None:
    mode = pretrained.get("resize_mode") or "shortest"
    interpolation = pretrained.get("interpolation") or "bicubic"
    if (mode, interpolation) != ("shortest", "bicubic"):
        raise TrainingError(
            f"navigator {name!r}: expected preprocessing by bicubic resize of the shortest side, "
            f"got {interpolation} {mode}: take another model"
        )


def _empty_tower(open_clip: Any, config: Mapping[str, Any], *, quick_gelu: bool) -> nn.Module:  # noqa: ANN401
    """Return the image tower without memory for its weights; the text tower is left out."""
    vision = {**config["vision_cfg"], "timm_model_pretrained": False}
    text = {"context_length": 8, "vocab_size": 8, "width": 64, "heads": 1, "layers": 1}
    with torch.device("meta"):
        model = open_clip.model.CLIP(
            embed_dim=config["embed_dim"],
            vision_cfg=vision,
            text_cfg=text,
            quick_gelu=quick_gelu,
        )
    tower: nn.Module = model.visual
    return tower


def _downloaded(open_clip: Any, name: str, pretrained: Mapping[str, Any]) -> Path:  # noqa: ANN401
    """Return the weights from the hub."""
    if not pretrained:
        raise TrainingError(
            f"navigator {name!r}: expected weights: give --navigator-checkpoint, or the name as "
            "MODEL:PRETRAINED"
        )
    try:
        return Path(open_clip.download_pretrained(dict(pretrained), prefer_hf_hub=True))
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise TrainingError(
            f"navigator {name!r}: the weights cannot be downloaded ({reason}): give them with "
            "--navigator-checkpoint"
        ) from error


def _visual_state(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the image tower's tensors, float32, in open_clip's layout."""
    if is_hf_clip(state):
        state = vision_tower_from_hf(state)
    found = {
        key.removeprefix(_VISUAL): tensor.to(torch.float32)
        for key, tensor in state.items()
        if key.startswith(_VISUAL)
    }
    if not found:
        raise TrainingError(
            f"navigator weights {path.name!r}: expected a CLIP in open_clip's or transformers' "
            f"layout, got keys such as {sorted(state)[:3]!r}: give the navigator's own file"
        )
    return found


def _side(size: int | tuple[int, int] | list[int]) -> int:
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise TrainingError(f"expected a navigator with square input, got {size!r}")
    return int(sides.pop())
