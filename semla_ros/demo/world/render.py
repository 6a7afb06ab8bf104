"""Renders a scene under conditions into an image with exact labels and depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from semla_ros.core.errors import ConfigError
from semla_ros.demo.world.classes import SKY
from semla_ros.demo.world.conditions import Conditions
from semla_ros.demo.world.light import beam, halo, illuminate, lamplight, sky
from semla_ros.demo.world.scene import Scene
from semla_ros.demo.world.surface import shade
from semla_ros.demo.world.weather import (
    add_falling,
    add_fog,
    add_lens_drops,
    expose,
    lay_snow,
    wet_ground,
)

MAX_SIDE: Final = 1024
_DROP_LIFE: Final = 2.5


@dataclass(frozen=True, eq=False)
class SceneImage:
    """One rendered image.

    Attributes:
        rgb: (H, W, 3) uint8.
        labels: (H, W) uint8 positions in CLASSES; every pixel has one.
        depth: (H, W) float32 metres along the view axis; surface.SKY_DEPTH in the sky.
    """

    rgb: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    depth: NDArray[np.float32]


def render(
    scene: Scene, conditions: Conditions, *, size: tuple[int, int] = (192, 320), noise_seed: int
) -> SceneImage:
    """Renders a scene.

    Args:
        scene: What is there.
        conditions: Weather and light; they never change labels or depth.
        size: (height, width) in pixels.
        noise_seed: Picks sensor noise, flakes and streaks.

    Returns:
        The image; equal inputs give equal bytes.

    Raises:
        ConfigError: The size is outside 16..MAX_SIDE.
    """
    if not all(16 <= side <= MAX_SIDE for side in size):
        raise ConfigError(
            f"expected a size of 16 to {MAX_SIDE} pixels a side, got {size!r}; choose one inside"
        )
    surface = shade(scene, size)
    rng = np.random.default_rng([53, noise_seed])
    lamp = lamplight(conditions)
    lobe = beam(surface) if lamp > 0.0 else np.zeros(size, np.float32)
    light = lay_snow(surface, conditions) * illuminate(scene, surface, conditions, lobe)
    light.reshape(-1, 3)[np.flatnonzero(surface.labels == SKY)] = sky(scene, surface, conditions)
    if lamp > 0.0:
        light += surface.glow * np.float32(lamp)
    light = wet_ground(surface, light, conditions)
    light = add_fog(surface, light, conditions, lobe)
    if lamp > 0.0:
        light += halo(light, conditions)
    light = add_falling(light, conditions, lobe, rng)
    rgb = expose(light, conditions, rng)
    if conditions.rain > 0.05:
        drops = np.random.default_rng([59, scene.seed, int(scene.time / _DROP_LIFE)])
        add_lens_drops(rgb, conditions, drops)
    return SceneImage(rgb, surface.labels, surface.depth)
