"""open_clip, imported safely, and CLIP models of our own size built with it."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

from semla_ros.core.errors import ConfigError

_LIBRARIES: list[torch.library.Library] = []


def import_open_clip() -> ModuleType:
    """Return open_clip, even beside a torchvision whose compiled operators do not load.

    Raises:
        ConfigError: It is not installed.
    """
    mend_torchvision()
    try:
        import open_clip
    except ModuleNotFoundError as error:
        raise ConfigError(f"CLIP models need {error.name!r}: pip install '.[train]'") from error

    module: ModuleType = open_clip
    return module


def mend_torchvision() -> None:
    """Make torchvision importable, for those who import it.

    Its wheels are built against CUDA torch; beside a CPU torch its import stops at two missing
    operators that nothing here uses. Declaring them lets the import pass.
    """
    if _LIBRARIES or _has_nms():
        return
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    for name in ("nms", "qnms"):
        library.define(name + signature)  # type: ignore[no-untyped-call]
    _LIBRARIES.append(library)


def _has_nms() -> bool:
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class ClipSize:
    """Sizes of a small CLIP in open_clip's architecture; heads are 64 channels wide."""

    embed_dim: int = 128
    image_size: int = 64
    patch: int = 8
    vision_width: int = 128
    vision_layers: int = 6
    text_width: int = 128
    text_layers: int = 2
    vocab_size: int = 1024
    context_length: int = 32


def create_clip(size: ClipSize, *, seed: int) -> Any:  # noqa: ANN401  open_clip is untyped
    """Return a fresh open_clip CLIP with QuickGELU."""
    open_clip = import_open_clip()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return open_clip.model.CLIP(
            embed_dim=size.embed_dim,
            vision_cfg={
                "image_size": size.image_size,
                "patch_size": size.patch,
                "width": size.vision_width,
                "layers": size.vision_layers,
                "head_width": 64,
            },
            text_cfg={
                "context_length": size.context_length,
                "vocab_size": size.vocab_size,
                "width": size.text_width,
                "heads": size.text_width // 64,
                "layers": size.text_layers,
            },
            quick_gelu=True,
        )
