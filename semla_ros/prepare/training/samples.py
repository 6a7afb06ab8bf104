"""Labelled images as batches for the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from semla_ros.core.types import UInt8Array
from semla_ros.prepare.bundler.clip import mend_torchvision
from semla_ros.prepare.training.recipe import Recipe

IGNORE = 255
"""Label of pixels that take no part in loss or score."""

MAX_CLASSES = 255
"""Labels are bytes."""


class LabelledImages(Protocol):
    """Anything that yields (rgb (H, W, 3) uint8, labels (H, W) uint8) by index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[UInt8Array, UInt8Array]: ...


@dataclass(frozen=True, slots=True)
class ArrayImages:
    """Images already in memory: rgb (N, H, W, 3) and labels (N, H, W), uint8."""

    rgb: UInt8Array
    labels: UInt8Array

    def __len__(self) -> int:
        return len(self.rgb)

    def __getitem__(self, index: int, /) -> tuple[UInt8Array, UInt8Array]:
        return self.rgb[index], self.labels[index]


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's input: image (B, 3, H, W) float32 RGB 0..255, labels (B, H, W) int64."""

    image: Tensor
    labels: Tensor


@dataclass(frozen=True, slots=True)
class View:
    """What of an image the network is shown while it trains.

    Attributes:
        size: (H, W) of the network's input.
        crop: Shorter side of random crops of the network's proportions, of an image just large
            enough for one; 0: all of the image, squashed, as the node shows it.
        flip: Mirror half of the images.
        colour: Vary the colours.
    """

    size: tuple[int, int]
    crop: int = 0
    flip: bool = True
    colour: bool = True

    @classmethod
    def of(cls, recipe: Recipe, *, size: tuple[int, int]) -> View:
        """Return the view of `recipe` for a network of input `size`."""
        return cls(size, recipe.crop, recipe.flip, recipe.colour)

    @property
    def crop_size(self) -> tuple[int, int]:
        """(H, W) of a crop."""
        shorter = min(self.size)
        high, wide = (round(self.crop * side / shorter) for side in self.size)
        return high, wide

    def fitted_size(self, height: int, width: int) -> tuple[int, int]:
        """Return (H, W) to which an image is resized before crops are taken."""
        if not self.crop:
            return self.size
        high, wide = self.crop_size
        factor = max(high / height, wide / width)
        return max(high, round(height * factor)), max(wide, round(width * factor))

    def fit(self, rgb: UInt8Array, labels: UInt8Array) -> tuple[UInt8Array, UInt8Array]:
        """Return the image and its labels as crops are taken from them."""
        height, width = self.fitted_size(*rgb.shape[:2])
        return (
            _resized(rgb, (height, width), cv2.INTER_LINEAR),
            _resized(labels, (height, width), cv2.INTER_NEAREST_EXACT),
        )


def draw_batch(
    source: LabelledImages, rng: np.random.Generator, *, batch_size: int, view: View
) -> Batch:
    """Return random images as `view` shows them; `rng` decides everything."""
    transform = _transform(view)
    images, labels = [], []
    for index in rng.integers(0, len(source), batch_size):
        rgb, label = view.fit(*source[int(index)])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**62)))
            image, mask = transform(
                torch.from_numpy(np.array(rgb)).permute(2, 0, 1), torch.from_numpy(np.array(label))
            )
        images.append(image)
        labels.append(mask)
    return Batch(torch.stack(images).float().contiguous(), torch.stack(labels).long())


@lru_cache(maxsize=1)
def _transform(view: View) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return crop, flip and colours. Source: SSD (Liu et al., 2016) as detectron2 has it."""
    mend_torchvision()
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    steps: list[Any] = []
    if view.crop:
        steps.append(v2.RandomCrop(view.crop_size))
        if view.crop_size != view.size:
            steps.append(v2.Resize(view.size, antialias=True))
    if view.flip:
        steps.append(v2.RandomHorizontalFlip())
    if view.colour:
        jitters = ({"brightness": 0.125}, {"contrast": 0.5}, {"saturation": 0.5}, {"hue": 0.05})
        steps += [v2.RandomApply([v2.ColorJitter(**jitter)], 0.5) for jitter in jitters]
    chain = v2.Compose(steps or [v2.Identity()])

    def transform(image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        shown, mask = chain(tv_tensors.Image(image), tv_tensors.Mask(labels))
        return shown.as_subclass(Tensor), mask.as_subclass(Tensor)

    return transform


def _resized(array: UInt8Array, size: tuple[int, int], interpolation: int) -> UInt8Array:
    if array.shape[:2] == size:
        return array
    whole = np.ascontiguousarray(array)
    return np.asarray(cv2.resize(whole, size[::-1], interpolation=interpolation), np.uint8)
