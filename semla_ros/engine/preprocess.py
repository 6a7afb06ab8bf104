"""From a camera image to the network's input."""

from __future__ import annotations

import cv2
import numpy as np

from semla_ros.core.types import Float32Array, UInt8Array


class InputBuffer:
    """The network input, allocated once: RGB 0..255, (1, 3, H, W) float32.

    Attributes:
        tensor: The input; `load` overwrites it in place.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        """Allocate for `size`, (H, W)."""
        self.tensor: Float32Array = np.zeros((1, 3, *size), np.float32)
        self._squashed: Float32Array = np.zeros((*size, 3), np.float32)
        self._wide: Float32Array = np.zeros((0, 0, 3), np.float32)

    def load(self, rgb: UInt8Array | Float32Array) -> None:
        """Squash `rgb` (H, W, 3) into `tensor`: bilinear, no antialias, half-pixel centres.

        The aspect ratio is not kept. Interpolating in float avoids the rounding
        of 8-bit resizing; the float copy is kept while the camera keeps its resolution.
        """
        if self._wide.shape != rgb.shape:
            self._wide = np.empty(rgb.shape, np.float32)
        np.copyto(self._wide, rgb)
        size = self._squashed.shape[1::-1]
        cv2.resize(self._wide, size, dst=self._squashed, interpolation=cv2.INTER_LINEAR)
        np.copyto(self.tensor[0], self._squashed.transpose(2, 0, 1))
