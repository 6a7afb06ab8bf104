"""Images that nobody took: the yardstick of features where no data is at hand."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from semla_ros.bundle import NavigatorSpec
from semla_ros.core.types import Float32Array

COUNT = 64
_SLOPES = (0.8, 1.6)
_CONTRASTS = (0.02, 0.3)
_LEVELS = (0.05, 0.95)
_TINT = 0.08
_CHROMA = 0.3


def reference_images(spec: NavigatorSpec) -> Iterator[Float32Array]:
    """Yield seeded noise with the spectrum of photographs as the navigator sees it, (1, 3, H, W).

    Amplitudes fall with frequency as 1/f does, more or less steeply; brightness, contrast and tint
    differ as between day, night and fog.

    Source: Field, 1987, "Relations between the statistics of natural images and the response
        properties of cortical cells", for the spectrum.
    """
    mean, std = (np.asarray(each).reshape(3, 1, 1) for each in (spec.mean, spec.std))
    for seed in range(COUNT):
        image = np.clip(_photograph(np.random.default_rng(seed), spec.shape), 0.0, 1.0)
        yield ((image - mean) / std).astype(np.float32)[np.newaxis]


def _photograph(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Return (3, H, W) around 0..1."""
    height, width = size
    rows, columns = np.fft.fftfreq(height)[:, np.newaxis], np.fft.rfftfreq(width)
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((4, *size))) / frequency ** rng.uniform(*_SLOPES)
    grey, *colours = np.fft.irfft2(spectrum, s=size)
    pattern = np.stack([grey + _CHROMA * each for each in colours])
    pattern *= np.exp(rng.uniform(*np.log(_CONTRASTS))) / pattern.std()
    tint = rng.normal(0.0, _TINT, (3, 1, 1))
    return pattern + rng.uniform(*_LEVELS) + tint
