"""Every size of a CAT-Seg network, and how to read them from a checkpoint's tensor shapes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from semla_ros.core.errors import ConfigError

CLIP_PREFIX = "sem_seg_head.predictor.clip_model."
AGGREGATOR_PREFIX = "sem_seg_head.predictor.transformer."

HEAD_WIDTH = 64
"""Channels per attention head of every CLIP tower."""

MLP_RATIO = 4
"""Hidden width of every MLP over its input width."""

_OFFICIAL_RESOLUTION = {16: 384, 14: 336}
"""CAT-Seg runs ViT-B/16 and ViT-L/14 on a 24 x 24 grid, whatever grid they were trained on."""

MAX_BLOCKS = 256
"""More blocks than this in one tower are a damaged file, not a network."""

_NAMED = 5
Shapes = Mapping[str, Sequence[int]]


def default_taps(layers: int) -> tuple[int, int]:
    """Return the two visual blocks read by the decoder: (3, 7) of 12, (7, 15) of 24."""
    return layers // 3 - 1, 2 * layers // 3 - 1


@dataclass(frozen=True)
class CatSegConfig:
    """Sizes of one network; the defaults are CAT-Seg B (ViT-B/16 at 384 px).

    Lengths are pixels for `resolution`, `patch` and `crop_size`, patches for `position_grid` and
    `window`, channels for every width and dim. `position_grid` is the side of the stored
    position embedding, which the forward pass resizes to `grid` when they differ. `pooling`
    coarsens the maps inside class attention, in training and evaluation alike; the weights do not
    depend on it, and the published reference outputs were computed with 2.
    """

    resolution: int = 384
    patch: int = 16
    position_grid: int = 14
    vision_width: int = 768
    vision_layers: int = 12
    vision_heads: int = 12
    embed_dim: int = 512
    text_width: int = 512
    text_layers: int = 12
    text_heads: int = 8
    vocab_size: int = 49408
    context_length: int = 77
    taps: tuple[int, int] = (3, 7)
    tap_dims: tuple[int, int] = (256, 128)
    hidden_dim: int = 128
    aggregator_layers: int = 2
    aggregator_heads: int = 4
    window: int = 12
    pad_len: int = 256
    appearance_dim: int = 128
    text_guidance_dim: int = 128
    decoder_dims: tuple[int, int] = (64, 32)
    decoder_guidance_dims: tuple[int, int] = (32, 16)
    pooling: int = 2
    crop_size: int = 384
    pixel_mean: tuple[float, float, float] = (122.7709383, 116.7460125, 104.09373615)
    pixel_std: tuple[float, float, float] = (68.5005327, 66.6321579, 70.3231630)

    def __post_init__(self) -> None:
        """Check every size.

        Raises:
            ConfigError: a size is not positive or does not divide what it must divide.
        """
        self._require_positive()
        self._require_divisible("resolution", self.resolution, by=self.patch)
        self._require_divisible("resolution // patch", self.grid, by=self.window)
        self._require_divisible("resolution // patch", self.grid, by=self.pooling)
        self._require_divisible("vision_width", self.vision_width, by=self.vision_heads)
        self._require_divisible("text_width", self.text_width, by=self.text_heads)
        self._require_divisible("hidden_dim", self.hidden_dim, by=self.aggregator_heads)
        if not 0 <= self.taps[0] < self.vision_layers - 1 or not (
            0 <= self.taps[1] < self.vision_layers - 1
        ):
            raise ConfigError(
                f"expected taps below the last of {self.vision_layers!r} visual blocks, "
                f"got {self.taps!r}; choose blocks such as {default_taps(self.vision_layers)!r}"
            )

    @property
    def grid(self) -> int:
        """Patches along each side of the image fed to CLIP."""
        return self.resolution // self.patch

    @classmethod
    def from_state_dict(
        cls,
        shapes: Shapes,
        *,
        resolution: int | None = None,
        pooling: int = 2,
    ) -> CatSegConfig:
        """Return the configuration of the checkpoint whose tensors have these shapes.

        Args:
            shapes: tensor shape by key, in the upstream layout.
            resolution: side of the image fed to CLIP, pixels; by default 384 for patch 16, 336
                for patch 14, otherwise what the stored position embedding was trained for.
            pooling: see the class; no tensor tells it.

        Raises:
            ConfigError: a key is missing or a shape is impossible.
        """
        clip = {
            key.removeprefix(CLIP_PREFIX): shape
            for key, shape in shapes.items()
            if key.startswith(CLIP_PREFIX)
        }
        sizes = {**_clip_sizes(clip), **_aggregator_sizes(shapes)}
        sizes = _with_resolution(sizes, resolution=resolution, crop_size=None)
        return cls(**{**sizes, "pooling": pooling})

    @classmethod
    def from_clip(cls, clip_shapes: Shapes, **others: object) -> CatSegConfig:
        """Return a configuration around an existing CLIP, for training a new aggregator.

        Args:
            clip_shapes: tensor shape by key, in the layout of `clip_model` (no prefix).
            **others: any other field of this class, `resolution` among them.

        Raises:
            ConfigError: a key is missing, a shape impossible, or a field unknown.
        """
        unknown = sorted(set(others) - {field.name for field in fields(cls)})
        if unknown:
            raise ConfigError(f"expected fields of CatSegConfig, got {unknown!r}; drop them")
        sizes = _with_resolution(
            _clip_sizes(clip_shapes),
            resolution=_integer(others, "resolution"),
            crop_size=_integer(others, "crop_size"),
        )
        return cls(**{**sizes, **others})

    def _require_positive(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("taps", "pixel_mean"):
                continue
            numbers = value if isinstance(value, tuple) else (value,)
            if any(number <= 0 for number in numbers):
                raise ConfigError(
                    f"expected {field.name} above zero, got {value!r}; give a positive size"
                )

    @staticmethod
    def _require_divisible(name: str, value: int, *, by: int) -> None:
        if value % by:
            raise ConfigError(
                f"expected {name} to be a multiple of {by!r}, got {value!r}; change either"
            )


def _shape(shapes: Shapes, key: str, *, rank: int) -> tuple[int, ...]:
    shape = shapes.get(key)
    if shape is None:
        raise ConfigError(
            f"expected a CAT-Seg checkpoint with {key!r}, got {len(shapes)!r} other tensors; "
            "give the state dict in the upstream layout"
        )
    if len(shape) != rank:
        raise ConfigError(
            f"expected {rank!r} dimensions for {key!r}, got shape {tuple(shape)!r}; "
            "the file is damaged or not CAT-Seg"
        )
    return tuple(int(size) for size in shape)


def _integer(fields_given: Mapping[str, object], name: str) -> int | None:
    value = fields_given.get(name)
    if value is None or isinstance(value, int):
        return value
    raise ConfigError(f"expected {name} as an integer, got {value!r}; give pixels")


def _count(shapes: Shapes, prefix: str) -> int:
    """Return how many blocks lie under `prefix`, numbered from 0 without a gap."""
    found = {key[len(prefix) :].split(".")[0] for key in shapes if key.startswith(prefix)}
    count = len(found)
    if not 1 <= count <= MAX_BLOCKS or found != {str(index) for index in range(count)}:
        named = sorted(found)[:_NAMED]
        raise ConfigError(
            f"expected 1 to {MAX_BLOCKS!r} blocks {prefix + '0'!r}, '1', … without a gap, got "
            f"{count!r}: {named!r}; the file is damaged or not CAT-Seg"
        )
    return count


def _clip_sizes(clip: Shapes) -> dict[str, Any]:
    """Return the fields that the CLIP tensors determine."""
    width, _, patch, _ = _shape(clip, "visual.conv1.weight", rank=4)
    tokens, _ = _shape(clip, "visual.positional_embedding", rank=2)
    vocab, text_width = _shape(clip, "token_embedding.weight", rank=2)
    context, _ = _shape(clip, "positional_embedding", rank=2)
    _, embed = _shape(clip, "visual.proj", rank=2)
    layers = _count(clip, "visual.transformer.resblocks.")
    return {
        "patch": patch,
        "position_grid": math.isqrt(tokens - 1),
        "vision_width": width,
        "vision_layers": layers,
        "vision_heads": max(1, width // HEAD_WIDTH),
        "embed_dim": embed,
        "text_width": text_width,
        "text_layers": _count(clip, "transformer.resblocks."),
        "text_heads": max(1, text_width // HEAD_WIDTH),
        "vocab_size": vocab,
        "context_length": context,
        "taps": default_taps(layers),
    }


def _aggregator_sizes(shapes: Shapes) -> dict[str, Any]:
    """Return the fields that the aggregator, decoder and upsampling tensors determine."""
    prefix = AGGREGATOR_PREFIX
    hidden = _shape(shapes, f"{prefix}conv1.weight", rank=4)[0]
    guidance = [
        _shape(shapes, f"{prefix}decoder_guidance_projection.{i}.0.weight", rank=4)[0]
        for i in (0, 1)
    ]
    decoder = [
        _shape(shapes, f"{prefix}decoder{i}.conv.double_conv.0.weight", rank=4)[0] for i in (1, 2)
    ]
    taps = [_shape(shapes, f"upsample{i}.weight", rank=4)[1] for i in (1, 2)]
    return {
        "hidden_dim": hidden,
        "aggregator_layers": _count(shapes, f"{prefix}layers."),
        "appearance_dim": _shape(shapes, f"{prefix}guidance_projection.0.weight", rank=4)[0],
        "text_guidance_dim": _shape(shapes, f"{prefix}text_guidance_projection.0.weight", rank=2)[
            0
        ],
        "tap_dims": tuple(taps),
        "decoder_dims": tuple(decoder),
        "decoder_guidance_dims": tuple(guidance),
    }


def _with_resolution(
    sizes: dict[str, Any], *, resolution: int | None, crop_size: int | None
) -> dict[str, Any]:
    """Return `sizes` with resolution, window and crop size filled in."""
    patch = sizes["patch"]
    official = _OFFICIAL_RESOLUTION.get(patch)
    chosen = resolution or official or patch * sizes["position_grid"]
    crop = crop_size or (384 if official and resolution is None else chosen)
    window = max(1, chosen // patch // 2)
    return {**sizes, "resolution": chosen, "crop_size": crop, "window": window}


VIT_L = CatSegConfig(
    resolution=336,
    patch=14,
    position_grid=24,
    vision_width=1024,
    vision_layers=24,
    vision_heads=16,
    embed_dim=768,
    text_width=768,
    text_heads=12,
    taps=(7, 15),
)
"""Sizes of `model_large.pth` (ViT-L/14@336); the defaults are those of `model_base.pth`."""
