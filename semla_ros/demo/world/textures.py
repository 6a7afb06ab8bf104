"""Precomputed tileable textures: one atlas for surfaces, a cloud layer, noise and flakes.

A surface texel has two channels: the luminance factor (mean 1) of the first colour and the
share of the second colour (window panes, mortar). Every tile is stored at several blur levels,
which stand in for the mip levels of a graphics card.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

TILE: Final = 64
LEVELS: Final = 6
PATCH: Final = 1024
KINDS: Final[tuple[str, ...]] = (
    "plain",
    "asphalt",
    "paver",
    "grass",
    "brick",
    "concrete",
    "foliage",
    "bark",
    "rooftile",
    "window_brick",
    "window_plaster",
    "window_office",
    "window_shop",
)
KIND: Final[dict[str, int]] = {name: index for index, name in enumerate(KINDS)}

FloatArray = NDArray[np.float32]


def fractal(shape: tuple[int, int], slope: float, seed: int) -> FloatArray:
    """Tileable noise of zero mean and unit variance whose spectrum falls as 1/f**slope."""
    rng = np.random.default_rng([711, seed])
    spectrum = np.fft.rfft2(rng.standard_normal(shape))
    fy = np.fft.fftfreq(shape[0])[:, None] * shape[0]
    fx = np.fft.rfftfreq(shape[1])[None, :] * shape[1]
    radius = np.hypot(fy, fx)
    radius[0, 0] = 1.0
    spectrum /= radius**slope
    spectrum[0, 0] = 0.0
    image = np.fft.irfft2(spectrum, shape)
    return np.asarray(image / image.std(), np.float32)


def _bricks(rows: int, columns: int) -> FloatArray:
    """1 on mortar, 0 on bricks."""
    mortar = np.zeros((TILE, TILE), np.float32)
    height, width = TILE // rows, TILE // columns
    for row in range(rows):
        mortar[row * height, :] = 1.0
        shift = (row % 2) * width // 2
        mortar[row * height : (row + 1) * height, shift::width] = 1.0
    return mortar


def _window(
    mask: FloatArray, box: tuple[int, int, int, int], panes: tuple[int, int]
) -> FloatArray:
    """Marks a window of the given (top, bottom, left, right) box, split by a thin frame."""
    top, bottom, left, right = box
    mask[top:bottom, left:right] = 1.0
    for k in range(1, panes[0]):
        row = top + (bottom - top) * k // panes[0]
        mask[row - 1 : row + 1, left:right] = 0.0
    for k in range(1, panes[1]):
        column = left + (right - left) * k // panes[1]
        mask[top:bottom, column - 1 : column + 1] = 0.0
    return mask


def _base_tiles() -> dict[str, tuple[FloatArray, FloatArray]]:
    """Luminance and mask of every kind at full sharpness; row 0 is the lowest height."""
    zero = np.zeros((TILE, TILE), np.float32)
    fine, coarse = fractal((TILE, TILE), 0.3, 1), fractal((TILE, TILE), 1.2, 2)
    wall = 1.0 + 0.06 * coarse + 0.04 * fine
    slabs = 1.0 + 0.07 * np.repeat(np.repeat(fractal((4, 4), 0.0, 3), 16, 0), 16, 1)
    joints = _bricks(4, 4)
    bricks = _bricks(8, 4)
    tiles = 1.0 + 0.16 * np.sin(np.arange(TILE) * 2 * np.pi / 8)[:, None] * np.ones((1, TILE))
    leaf = fractal((TILE, TILE), 0.75, 4)
    streak = fractal((TILE, TILE), 0.5, 5).mean(0, keepdims=True) * 3.0
    frame = wall.copy()
    frame[14:17, 13:51] *= 1.5
    return {
        "plain": (np.ones_like(zero), zero),
        "asphalt": (1.0 + 0.16 * fine + 0.10 * coarse, zero),
        "paver": (slabs * (1.0 + 0.06 * fine) * (1.0 - 0.45 * joints), zero),
        "grass": (1.0 + 0.28 * fractal((TILE, TILE), 0.4, 6) + 0.16 * coarse, zero),
        "brick": (1.0 + 0.12 * fine, bricks * 0.7),
        "concrete": (wall, zero),
        "foliage": (np.clip(1.0 + 0.50 * leaf, 0.15, 2.6), zero),
        "bark": (np.clip(1.0 + 0.3 * streak + 0.1 * fine, 0.3, 2.0), zero),
        "rooftile": (tiles.astype(np.float32) * (1.0 + 0.08 * fine), zero),
        "window_brick": (
            (1.0 + 0.10 * fine) * (1.0 + 0.35 * bricks),
            _window(zero.copy(), (17, 50, 18, 46), (2, 2)),
        ),
        "window_plaster": (frame, _window(zero.copy(), (16, 48, 15, 49), (1, 2))),
        "window_office": (wall, _window(zero.copy(), (18, 58, 2, 62), (1, 3))),
        "window_shop": (wall, _window(zero.copy(), (6, 54, 4, 60), (1, 2))),
    }


@lru_cache(maxsize=1)
def atlas() -> FloatArray:
    """Surface texels, (LEVELS * kinds * TILE * TILE, 2) float32, level-major."""
    tiles = _base_tiles()
    sharp = np.stack([np.dstack(tiles[name]).astype(np.float32) for name in KINDS])
    levels = [sharp]
    for level in range(1, LEVELS):
        k = 2**level
        blurred = [
            cv2.blur(np.tile(tile, (3, 3, 1)), (k, k))[TILE : 2 * TILE, TILE : 2 * TILE]
            for tile in sharp
        ]
        levels.append(np.stack(blurred))
    return np.ascontiguousarray(np.stack(levels).reshape(-1, 2), dtype=np.float32)


@lru_cache(maxsize=1)
def clouds() -> FloatArray:
    """A tileable cloud layer, (256, 256) float32 of zero mean and unit variance."""
    return fractal((256, 256), 1.6, 20)


@lru_cache(maxsize=1)
def patches() -> FloatArray:
    """Slow tileable ground variation, (PATCH, PATCH) float32 of zero mean, unit variance."""
    coarse = np.tile(fractal((256, 256), 1.1, 21), (3, 3))
    side = 3 * PATCH
    smooth = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(smooth[PATCH : 2 * PATCH, PATCH : 2 * PATCH])


@lru_cache(maxsize=1)
def sensor_noise() -> FloatArray:
    """White noise that a frame takes a random window of, (1024, 1024, 3) float32."""
    rng = np.random.default_rng([711, 22])
    white = rng.standard_normal((1024, 1024, 3), dtype=np.float32)
    grey = white.mean(2, keepdims=True)
    return np.asarray(0.75 * white + 0.6 * grey, np.float32)
