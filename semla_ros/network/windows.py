"""Segment an image of any size: the official sliding windows, or the whole image at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from semla_ros.errors import FrameError
from semla_ros.network.catseg import CatSeg


@dataclass(frozen=True)
class ClassScores:
    """Per-class scores of one image at its own size.

    Attributes:
        scores: (T, H, W) float32 in [0, 1], one sigmoid per class: not a distribution.
    """

    scores: Tensor

    @property
    def labels(self) -> Tensor:
        """Index of the best class at each pixel, (H, W) int64."""
        return self.scores.argmax(dim=0)


@torch.no_grad()
def sliding_window_scores(model: CatSeg, image: Tensor, text_features: Tensor) -> ClassScores:
    """Return the mean of four overlapping crops and one global view, as the paper evaluates.

    Args:
        model: the network, in evaluation mode.
        image: (3, H, W) float, RGB 0..255, any size; squashed to the square canvas.
        text_features: (T, embed_dim), L2-normalised.

    Raises:
        FrameError: `image` is not (3, H, W).

    Source: CAT-Seg's sliding inference (canvas 640, crop 384, overlap 0.333).
    """
    _require_image(image)
    config = model.config
    crop, canvas = config.crop_size, config.canvas_size
    squashed = _resize(image[None], canvas)[0]
    corners = [(y, x) for y in (0, config.stride) for x in (0, config.stride)]
    crops = [squashed[:, y : y + crop, x : x + crop] for y, x in corners]
    views = model.normalise(torch.stack([*crops, _resize(image[None], crop)[0]]))
    logits = model.logits_from_normalised(_resize(views, config.resolution), text_features)
    scores = _resize(logits, crop).sigmoid()
    total = scores.new_zeros((scores.shape[1], canvas, canvas))
    count = scores.new_zeros((canvas, canvas))
    for (y, x), part in zip(corners, scores, strict=False):
        total[:, y : y + crop, x : x + crop] += part
        count[y : y + crop, x : x + crop] += 1
    mean = (total / count + _resize(scores[-1:], canvas)[0]) / 2
    return ClassScores(_resize(mean[None], tuple(image.shape[1:]))[0])


@torch.no_grad()
def single_window_scores(
    model: CatSeg, image: Tensor, text_features: Tensor, *, pad_multiple: int = 1
) -> ClassScores:
    """Return the scores of the whole image squashed once to the network's resolution.

    Args:
        model: the network, in evaluation mode.
        image: (3, H, W) float, RGB 0..255, any size.
        text_features: (T, embed_dim), L2-normalised.
        pad_multiple: pad right and below with the mean colour to a multiple of this, pixels.
            The official non-sliding path uses 384 and then stretches the result of the padded
            image over the unpadded one, which shifts every object: only for comparisons.

    Raises:
        FrameError: `image` is not (3, H, W).
    """
    _require_image(image)
    height, width = image.shape[1:]
    padding = (0, -width % pad_multiple, 0, -height % pad_multiple)
    padded = functional.pad(model.normalise(image[None]), padding)
    resized = _resize(padded, model.config.resolution)
    scores = model.logits_from_normalised(resized, text_features).sigmoid()
    return ClassScores(_resize(scores, (height, width))[0])


def _resize(x: Tensor, size: int | tuple[int, ...]) -> Tensor:
    """Resize (N, C, H, W), bilinear, half-pixel centres, no antialiasing."""
    target = (size, size) if isinstance(size, int) else size
    if tuple(x.shape[2:]) == target:
        return x
    return functional.interpolate(x, size=target, mode="bilinear", align_corners=False)


def _require_image(image: Tensor) -> None:
    if image.ndim != 3 or image.shape[0] != 3:
        raise FrameError(
            f"expected an image of shape (3, H, W), got {tuple(image.shape)!r}; "
            "move the channels to the front"
        )
