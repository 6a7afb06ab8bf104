"""DINOv2 as the navigator: weights as timm or torch hub stores them, the tower from timm.

The published weights are for images of 518 px; the navigator sees 224, and the position embedding
is resized as DINOv2 itself does it, which is not timm's way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from semla_ros.bundle import NavigatorSpec
from semla_ros.core.errors import TrainingError
from semla_ros.navigator.preprocess import EVAL_CROP
from semla_ros.prepare.bundler.checkpoint_reader import read_checkpoint
from semla_ros.prepare.bundler.image_tower import ImageTower, fill_tower, name_of, with_resize
from semla_ros.prepare.bundler.navigator_parts import NavigatorParts
from semla_ros.prepare.bundler.vision_models import fetched, import_vision
from semla_ros.prepare.bundler.writer import state_identity

DINO_PREFIX = "dinov2-"
DINOS: Mapping[str, str] = MappingProxyType(
    {
        f"{DINO_PREFIX}vit-{letter}-14": f"vit_{size}_patch14_dinov2.lvd142m"
        for letter, size in (("s", "small"), ("b", "base"), ("l", "large"), ("g", "giant"))
    }
)
"""Our name -> timm's."""

SIZE = 224
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_OFFSET = 0.1
_POSITIONS = "pos_embed"
_TRAINING_ONLY = "mask_token"
_GATED = (("mlp.w12.", "mlp.fc1."), ("mlp.w3.", "mlp.fc2."))
"""The giant's gated MLP: torch hub's names and timm's."""


def load_dinov2(name: str, checkpoint: Path | None, *, resize: str | None) -> NavigatorParts:
    """Return DINOv2's image encoder, on the CPU, float32; embeds by the normalised class token.

    Args:
        name: One of `DINOS`.
        checkpoint: Its weights, as timm or torch hub stores them; None: from the hub.
        resize: One of the navigator's `RESIZES`; None: DINOv2's own, `eval_crop`.

    Raises:
        TrainingError: An unknown name, weights of another model, none to be had, or no timm.
    """
    if name not in DINOS:
        raise TrainingError(f"expected a DINOv2 of {tuple(DINOS)!r}, got {name!r}: take one")
    timm = import_vision("timm", name)
    state = timm_layout(_hub_state(timm, name) if checkpoint is None else _read(checkpoint))
    short = name.removeprefix(DINO_PREFIX)
    identity = state_identity(state, prefix=f"dinov2/{short}@{SIZE}")
    tower = _empty_tower(timm, name)
    patch = int(tower.get_parameter("patch_embed.proj.weight").shape[-1])
    if _POSITIONS in state:
        state[_POSITIONS] = resized_positions(state[_POSITIONS], grid=SIZE // patch)
    fill_tower(tower, state, origin=name_of(checkpoint))
    spec = NavigatorSpec(
        identity=with_resize(identity, resize or EVAL_CROP, own=EVAL_CROP),
        size=SIZE,
        resize=resize or EVAL_CROP,
        mean=_MEAN,
        std=_STD,
        dim=int(tower.get_parameter("norm.weight").shape[0]),
    )
    return NavigatorParts(ImageTower(tower).eval(), spec)


def timm_layout(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return DINOv2's tensors, of torch hub or of timm, float32 under timm's names."""
    found: dict[str, Tensor] = {}
    for key, tensor in state.items():
        if key != _TRAINING_ONLY:
            for theirs, ours in _GATED:
                key = key.replace(theirs, ours)
            found[key] = tensor.to(torch.float32)
    return found


def resized_positions(stored: Tensor, *, grid: int) -> Tensor:
    """Return position embeddings (1, 1 + grid * grid, D) of `stored` (1, 1 + side * side, D).

    Bicubic without antialiasing, sampled as if the output had `grid + 0.1` patches: DINOv2's
    published models were trained and evaluated with that offset.

    Raises:
        TrainingError: The stored positions are not those of a square grid.

    Source: DINOv2, interpolate_pos_encoding with interpolate_offset 0.1.
    """
    count = stored.shape[1] - 1 if stored.ndim == 3 else -1
    side = math.isqrt(max(count, 0))
    if count < 1 or side * side != count:
        raise TrainingError(
            f"{_POSITIONS!r}: expected (1, 1 + side * side, D), got {tuple(stored.shape)!r}: "
            "the file is damaged or not DINOv2"
        )
    if side == grid:
        return stored
    scale = (grid + _OFFSET) / side
    maps = torch.unflatten(stored[:, 1:], 1, (side, side)).permute(0, 3, 1, 2)
    resized = functional.interpolate(
        maps, scale_factor=(scale, scale), mode="bicubic", align_corners=False
    )
    return torch.cat([stored[:, :1], resized.flatten(2).transpose(1, 2)], dim=1)


def _read(checkpoint: Path) -> dict[str, Tensor]:
    state = read_checkpoint(checkpoint)
    if not {_POSITIONS, "cls_token", "blocks.0.ls1.gamma"} <= state.keys():
        raise TrainingError(
            f"navigator weights {checkpoint.name!r}: expected DINOv2 in timm's or torch hub's "
            f"layout, got keys such as {sorted(state)[:3]!r}: give the navigator's own file"
        )
    return state


def _hub_state(timm: Any, name: str) -> dict[str, Tensor]:  # noqa: ANN401
    """Return the published tensors at their own size: timm would resize them its own way."""
    model = fetched(name, lambda: timm.create_model(DINOS[name], pretrained=True, num_classes=0))
    return dict(model.state_dict())


def _empty_tower(timm: Any, name: str) -> nn.Module:  # noqa: ANN401
    with torch.device("meta"):
        tower: nn.Module = timm.create_model(DINOS[name], num_classes=0, img_size=SIZE)
    return tower
