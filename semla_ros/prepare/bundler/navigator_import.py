"""Which image encoder becomes a bundle's navigator, and which of its features."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from semla_ros.core.errors import ConfigError
from semla_ros.navigator.preprocess import CENTER_CROP, RESIZES
from semla_ros.prepare.bundler.channel_statistics import with_features
from semla_ros.prepare.bundler.dinov2 import DINO_PREFIX, load_dinov2
from semla_ros.prepare.bundler.navigator_parts import (
    EMBEDDING,
    FEATURES,
    SEGMENTER,
    Navigator,
    NavigatorParts,
)
from semla_ros.prepare.bundler.onnx_navigator import ONNX, OnnxInput, load_onnx
from semla_ros.prepare.bundler.open_clip_navigator import load_open_clip
from semla_ros.prepare.bundler.prompt_sets import DEFAULT_SET, read_prompt_set
from semla_ros.prepare.bundler.vision_models import TIMM, TORCHVISION, load_timm, load_torchvision

NO_NAVIGATOR = "none"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NavigatorRequest:
    """Which navigator is asked for.

    Attributes:
        name: See `load_navigator`; or `onnx:FILE`; `segmenter`, the segmentation network's own
            early layers; `none`, explicit mixes only.
        checkpoint: Its weights; None: from where they are published.
        resize: One of the navigator's `RESIZES`; None: its encoder's own.
        features: One of `FEATURES`; None: its embedding, of `segmenter` channel statistics.
        onnx: What an ONNX file does not say of its input.
    """

    name: str
    checkpoint: Path | None = None
    resize: str | None = None
    features: str | None = None
    onnx: OnnxInput = field(default_factory=OnnxInput)

    def __post_init__(self) -> None:
        for what, value, allowed in (
            ("resize", self.resize, tuple(RESIZES)),
            ("features", self.features, FEATURES),
        ):
            if value is not None and value not in allowed:
                raise ConfigError(
                    f"expected a navigator {what} of {allowed!r}, got {value!r}: choose one"
                )
        is_file, is_network = self.name.startswith(ONNX), self.name in (NO_NAVIGATOR, SEGMENTER)
        foreign: Mapping[str, bool] = {
            "checkpoint": self.checkpoint is not None and (is_file or is_network),
            "resize": self.resize is not None and is_network,
            "features": self.features is not None and is_network,
            "size": self.onnx.size is not None and not is_file,
            "mean": self.onnx.mean is not None and not is_file,
            "std": self.onnx.std is not None and not is_file,
        }
        for option, is_foreign in foreign.items():
            if is_foreign:
                raise ConfigError(
                    f"navigator {self.name!r} has no use for --navigator-{option}: leave it out"
                )


def requested(request: NavigatorRequest) -> Navigator:
    """Return what becomes the navigator.

    Raises:
        TrainingError: See `load_navigator`, `load_onnx` and `with_features`.
    """
    if request.name == NO_NAVIGATOR:
        return None
    if request.name == SEGMENTER:
        _LOG.info("adapters come without statistics: make them with `semla library embed`")
        return SEGMENTER
    if request.name.startswith(ONNX):
        parts = load_onnx(request.name, request.onnx, resize=request.resize)
    else:
        parts = load_navigator(request.name, request.checkpoint, resize=request.resize)
    return with_features(parts, request.features or EMBEDDING)


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
            `timm:MODEL`, `torchvision:MODEL`, or an open_clip model, alone or as
            `MODEL:PRETRAINED`.
        checkpoint: Its weights; CLIP in open_clip's or transformers' layout, DINOv2 in timm's or
            torch hub's, others as their library stores them; None: from where it has them.
        resize: One of the navigator's `RESIZES`; None: the encoder's own, `center_crop` for CLIP
            and `eval_crop` for DINOv2. Any other needs centroids of its own.
        prompts: The words to bring along, see `read_prompt_set`.

    Raises:
        TrainingError: An unknown name, weights of another model, or none to be had.
    """
    if name.startswith(TIMM):
        return load_timm(name, checkpoint, resize=resize)
    if name.startswith(TORCHVISION):
        return load_torchvision(name, checkpoint, resize=resize)
    if name.startswith(DINO_PREFIX):
        return load_dinov2(name, checkpoint, resize=resize)
    words = read_prompt_set(prompts)
    return load_open_clip(name, checkpoint, resize=resize or CENTER_CROP, words=words)
