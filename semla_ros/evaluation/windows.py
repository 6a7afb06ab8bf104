"""Class scores of an image of any size: the whole image at once, or the official sliding crops."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semla_ros.bundle import SIGMOID
from semla_ros.core.errors import EngineError
from semla_ros.core.types import Float32Array, UInt8Array
from semla_ros.engine.contract import SegmentationEngine
from semla_ros.engine.postprocess import (
    Labels,
    labels_from_logits,
    labels_from_scores,
    resized,
    scores_from_logits,
)
from semla_ros.network.config import CatSegConfig

_OVERLAP = 0.333
"""Fraction of a crop shared with its neighbour. Source: CAT-Seg's sliding inference."""


@dataclass(frozen=True, slots=True)
class WindowedLabels:
    """Labels at the image's size, and what they were made from.

    Attributes:
        labels: Class ids and confidence (H, W).
        logits: (T, h, w) before the sigmoid; (5, T, h, w) of the sliding crops, the global view
            last.
    """

    labels: Labels
    logits: Float32Array


def single_window(engine: SegmentationEngine, rgb: UInt8Array) -> WindowedLabels:
    """Return the labels of `rgb` (H, W, 3), squashed once to the network's size.

    Raises:
        EngineError: The network failed, or its output is not finite.
    """
    logits, size = engine.logits(rgb), (rgb.shape[0], rgb.shape[1])
    labels = labels_from_logits(logits, size, activation=engine.facts.activation)
    return WindowedLabels(labels, logits)


def padded_window(engine: SegmentationEngine, rgb: UInt8Array, *, multiple: int) -> WindowedLabels:
    """Return the labels of `rgb` (H, W, 3) as the official path without crops does.

    The image is padded right and below with the mean colour, and the mask of the padded image is
    then stretched over the unpadded one, which shifts every object: only for comparisons.

    Args:
        engine: Resizes the padded image to its own input.
        rgb: The image.
        multiple: Sides are padded to multiples of this; 384 for the published models.

    Raises:
        EngineError: The network failed, its output is not finite, or this is not its way.

    Source: CAT-Seg's forward with SIZE_DIVISIBILITY 384.
    """
    _require_sigmoid(engine)
    height, width = rgb.shape[:2]
    shape = (height + -height % multiple, width + -width % multiple, 3)
    padded = np.broadcast_to(np.array(CatSegConfig.pixel_mean, np.float32), shape).copy()
    padded[:height, :width] = rgb
    logits = engine.logits(padded)
    return WindowedLabels(labels_from_logits(logits, (height, width)), logits)


def sliding_window(engine: SegmentationEngine, rgb: UInt8Array, *, crop: int) -> WindowedLabels:
    """Return the labels of `rgb` (H, W, 3) as the paper evaluates.

    The image is squashed to a square canvas of 2 x 2 overlapping crops; their scores are averaged
    where they overlap, then with those of the whole image squashed to one crop.

    Args:
        engine: Resizes each view to its own input.
        rgb: The image.
        crop: Side of a crop; 384 for the published models, whose canvas is 640.

    Raises:
        EngineError: The network failed, its output is not finite, or this is not its way.

    Source: CAT-Seg's sliding inference (canvas 640, crop 384, overlap 0.333).
    """
    _require_sigmoid(engine)
    stride = int(crop * (1 - _OVERLAP))
    side = crop + stride
    image = rgb.astype(np.float32)
    canvas = resized(image, (side, side))
    corners = [(y, x) for y in (0, stride) for x in (0, stride)]
    views = [np.ascontiguousarray(canvas[y : y + crop, x : x + crop]) for y, x in corners]
    logits = np.stack([engine.logits(v) for v in (*views, resized(image, (crop, crop)))])
    scores = [scores_from_logits(_planes(each, crop)) for each in logits]
    total = np.zeros((logits.shape[1], side, side), np.float32)
    count = np.zeros((side, side), np.float32)
    for (y, x), part in zip(corners, scores, strict=False):
        total[:, y : y + crop, x : x + crop] += part
        count[y : y + crop, x : x + crop] += 1
    total /= count
    total += _planes(scores[-1], side)
    total /= 2
    return WindowedLabels(labels_from_scores(total, (rgb.shape[0], rgb.shape[1])), logits)


def _require_sigmoid(engine: SegmentationEngine) -> None:
    """Refuse CAT-Seg's ways for networks whose classes do not score by themselves."""
    if engine.facts.activation != SIGMOID:
        raise EngineError(
            "expected the whole image at once, got a way of CAT-Seg: this network's class maps "
            f"are {engine.facts.activation!r}; take window 'single'"
        )


def _planes(maps: Float32Array, side: int) -> Float32Array:
    """Return each of `maps` (T, h, w) resized to (side, side)."""
    return np.stack([resized(plane, (side, side)) for plane in maps])
