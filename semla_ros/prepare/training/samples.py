"""Labelled images as batches for the network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from semla_ros.core.config import PARAMETERS
from semla_ros.core.errors import FrameError, TrainingError
from semla_ros.core.files.image_file import read_image
from semla_ros.core.files.label_image import read_labels
from semla_ros.core.types import UInt8Array

_MAX_PIXELS = int(PARAMETERS["max_pixels"].default)
IGNORE = 255
"""Label of pixels that take no part in loss or score."""


class LabelledImages(Protocol):
    """Anything that yields (rgb (H, W, 3) uint8, labels (H, W) uint8) by index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[UInt8Array, UInt8Array]: ...


@dataclass(frozen=True, slots=True)
class FolderImages:
    """Images and label PNGs of the same stem in two folders."""

    images: tuple[Path, ...]
    labels: tuple[Path, ...]

    @classmethod
    def open(cls, images: Path, labels: Path) -> FolderImages:
        """Return the pairs found in the two folders, by stem.

        Raises:
            TrainingError: No images, or an image without labels.
        """
        found = sorted(
            p for p in images.glob("*") if p.suffix.lower() in (".png", ".jpg", ".jpeg")
        )
        if not found:
            raise TrainingError(f"expected PNG or JPEG images in {str(images)!r}, found none")
        pairs = tuple(labels / f"{path.stem}.png" for path in found)
        if missing := [p.name for p in pairs if not p.is_file()]:
            raise TrainingError(
                f"{len(missing)} of {len(found)} images have no label file in {str(labels)!r}, "
                f"first {missing[0]!r}: add it or take the image away"
            )
        return cls(tuple(found), pairs)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int, /) -> tuple[UInt8Array, UInt8Array]:
        try:
            rgb = read_image(self.images[index], max_pixels=_MAX_PIXELS)
            labels = read_labels(self.labels[index], max_pixels=_MAX_PIXELS)
        except FrameError as error:
            raise TrainingError(str(error)) from error
        if labels.shape != rgb.shape[:2]:
            raise TrainingError(
                f"expected one-channel labels of its size {rgb.shape[:2]} for "
                f"{self.images[index].name!r}, got {labels.shape}"
            )
        return rgb, labels.astype(np.uint8)


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
    """One step's input: image (B, 3, S, S) float32 RGB 0..255, labels (B, S, S) int64."""

    image: Tensor
    labels: Tensor


def draw_batch(
    source: LabelledImages, rng: np.random.Generator, *, batch_size: int, size: int
) -> Batch:
    """Return a random batch, each image squashed to (size, size) and flipped half the time."""
    images, labels = [], []
    for index in rng.integers(0, len(source), batch_size):
        rgb, label = source[int(index)]
        if rng.random() < 0.5:
            rgb, label = rgb[:, ::-1], label[:, ::-1]
        rgb = _colour_jitter(rgb, rng)
        images.append(cv2.resize(rgb, (size, size), interpolation=cv2.INTER_LINEAR))
        labels.append(
            cv2.resize(
                np.ascontiguousarray(label), (size, size), interpolation=cv2.INTER_NEAREST_EXACT
            )
        )
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    return Batch(stacked.contiguous(), torch.from_numpy(np.stack(labels)).long())


def _colour_jitter(rgb: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """Return the image with small random brightness, contrast and colour-balance changes."""
    gain = rng.uniform(0.85, 1.15, 3) * rng.uniform(0.85, 1.15)
    offset = rng.uniform(-12.0, 12.0)
    table = np.clip(np.arange(256)[:, None] * gain + offset, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(np.ascontiguousarray(rgb), table.reshape(1, 256, 3)), np.uint8)
