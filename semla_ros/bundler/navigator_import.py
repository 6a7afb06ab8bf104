"""Image encoders of others as navigators: any open_clip model, or DINOv2 through timm."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from semla_ros.bundle import NavigatorSpec
from semla_ros.bundler.checkpoint_reader import read_checkpoint
from semla_ros.bundler.clip import import_open_clip
from semla_ros.bundler.hf_clip import is_hf_clip, vision_tower_from_hf
from semla_ros.bundler.writer import NavigatorParts, state_identity
from semla_ros.errors import TrainingError
from semla_ros.library.compatibility import PUBLISHED_ENCODER

Rgb = tuple[float, float, float]

CENTER_CROP, LETTERBOX = "center_crop", "letterbox"
DINO_PREFIX = "dinov2-"
_VISUAL = "visual."
_IMAGENET: tuple[Rgb, Rgb] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_DINO_SIZE = 224
_DINO: Mapping[str, str] = MappingProxyType(
    {
        f"{DINO_PREFIX}vit-{letter}-14": f"vit_{size}_patch14_dinov2.lvd142m"
        for letter, size in (("s", "small"), ("b", "base"), ("l", "large"), ("g", "giant"))
    }
)


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
    name: str, checkpoint: Path | None, *, resize: str = CENTER_CROP
) -> NavigatorParts:
    """Return the image encoder `name` with its preprocessing, on the CPU, float32.

    Args:
        name: `clip-vit-l-14` (what SemLA's centroids were made with), `dinov2-vit-{s,b,l,g}-14`,
            or an open_clip model, alone or as `MODEL:PRETRAINED`.
        checkpoint: Its weights, in open_clip's or transformers' layout; None: from the hub.
        resize: `center_crop` as CLIP does, or `letterbox`, which needs centroids of its own.

    Raises:
        TrainingError: An unknown name, weights of another model, or none to be had.
    """
    if name.startswith(DINO_PREFIX):
        return _load_dino(name, checkpoint, resize=resize)
    return _load_open_clip(name, checkpoint, resize=resize)


class _Tower(nn.Module):
    """An image tower whose embedding is its (first) output."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, image: Tensor) -> Tensor:
        output = self.tower(image)
        embedding: Tensor = output[0] if isinstance(output, tuple) else output
        return embedding


def _load_open_clip(name: str, checkpoint: Path | None, *, resize: str) -> NavigatorParts:
    open_clip = import_open_clip()
    known = _KNOWN.get(name)
    model, _, tag = (known.model, "", known.tag) if known else name.partition(":")
    config, pretrained = _configs(open_clip, model, tag)
    _require_plain_preprocessing(name, pretrained)
    quick = bool(config.get("quick_gelu") or pretrained.get("quick_gelu"))
    tower = _empty_tower(open_clip, config, quick_gelu=quick)
    path = checkpoint or _downloaded(open_clip, name, pretrained)
    state = _visual_state(read_checkpoint(path), path)
    _fill(tower, state, path)
    identity = known.identity if known else f"open_clip/{name}"
    if not known and not tag:
        identity = state_identity(state, prefix=f"open_clip/{model}")
    mean, std = (tuple(pretrained.get(k) or getattr(open_clip, d)) for k, d in _STATISTICS)
    spec = NavigatorSpec(
        identity=_with_resize(identity, resize),
        size=_side(config["vision_cfg"].get("image_size", 224)),
        resize=resize,
        mean=mean,
        std=std,
        dim=int(config["embed_dim"]),
    )
    return NavigatorParts(_Tower(tower).eval(), spec)


_STATISTICS = (("mean", "OPENAI_DATASET_MEAN"), ("std", "OPENAI_DATASET_STD"))


def _configs(open_clip: Any, model: str, tag: str) -> tuple[dict[str, Any], dict[str, Any]]:  # noqa: ANN401
    """Return open_clip's configuration of the model, and of the weights `tag`."""
    config = open_clip.get_model_config(model)
    if config is None:
        near = difflib.get_close_matches(model, [*_KNOWN, *_DINO, *open_clip.list_models()], n=3)
        raise TrainingError(
            f"expected a navigator of open_clip, {tuple(_KNOWN)!r}, {tuple(_DINO)!r} or 'none', "
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


def _fill(tower: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    expected = {key: tuple(t.shape) for key, t in tower.state_dict().items()}
    got = {key: tuple(t.shape) for key, t in state.items()}
    if expected != got:
        odd = sorted(k for k in expected.keys() | got.keys() if expected.get(k) != got.get(k))
        raise TrainingError(
            f"navigator weights {path.name!r} are of another model: {len(odd)} of "
            f"{len(expected)} tensors are missing, unknown or of another shape, e.g. "
            f"{[(k, expected.get(k), got.get(k)) for k in odd[:2]]!r}: give the weights of the "
            "named navigator"
        )
    tower.load_state_dict(state, assign=True)
    if any(t.is_meta for t in (*tower.parameters(), *tower.buffers())):
        raise TrainingError(
            f"navigator weights {path.name!r}: this model computes tensors that no checkpoint "
            "carries: take another model"
        )


def _load_dino(name: str, checkpoint: Path | None, *, resize: str) -> NavigatorParts:
    if name not in _DINO:
        raise TrainingError(f"expected a DINOv2 of {tuple(_DINO)!r}, got {name!r}")
    try:
        import_open_clip()  # makes torchvision importable, which timm wants
        import timm
    except ImportError as error:
        raise TrainingError(
            f"navigator {name!r}: expected timm, found none: `pip install timm`"
        ) from error
    size = _DINO_SIZE
    model: Any
    try:
        model = timm.create_model(
            _DINO[name], pretrained=checkpoint is None, num_classes=0, img_size=size
        )
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise TrainingError(
            f"navigator {name!r}: the weights cannot be downloaded ({reason}): give them with "
            "--navigator-checkpoint"
        ) from error
    if checkpoint is not None:
        convert = timm.models.vision_transformer.checkpoint_filter_fn
        state = {k: v.to(torch.float32) for k, v in read_checkpoint(checkpoint).items()}
        state = {k: v for k, v in convert(state, model).items() if not k.startswith("mask_token")}
        _fill(model, state, checkpoint)
    mean, std = _IMAGENET
    identity = _with_resize(f"timm/{_DINO[name]}@{size}", resize)
    spec = NavigatorSpec(identity, size, resize, mean, std, int(model.num_features))
    return NavigatorParts(_Tower(model).eval(), spec)


def _with_resize(identity: str, resize: str) -> str:
    return identity if resize == CENTER_CROP else f"{identity}+{resize}"


def _side(size: int | tuple[int, int] | list[int]) -> int:
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise TrainingError(f"expected a navigator with square input, got {size!r}")
    return int(sides.pop())
