"""Fog, wet roads, lying and falling snow, rain, and the camera's sensor."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from semla_ros.demo.world.classes import CLASSES, ROAD, SIDEWALK
from semla_ros.demo.world.conditions import Conditions
from semla_ros.demo.world.light import coloured, daylight, grey, lamplight
from semla_ros.demo.world.surface import Surface
from semla_ros.demo.world.textures import sensor_noise

_FloatArray = NDArray[np.float32]
_SKY_AIR: Final = 110.0
_SNOW: Final = np.array([0.80, 0.83, 0.90], np.float32)
_TRODDEN: Final = np.array(
    [{"road": 0.80, "sidewalk": 0.90}.get(name, 1.0) for name in CLASSES], np.float32
)
_REFLECTANCE_SKY: Final = 0.55


def lay_snow(surface: Surface, conditions: Conditions) -> _FloatArray:
    """The albedo under lying snow, (H, W, 3) float32.

    Snow holds where surfaces look up; patches and wheel tracks thin it out.
    """
    if conditions.snow_cover <= 0.0:
        return surface.albedo
    depth = conditions.snow_cover * (surface.up * 1.5) + 0.16 * surface.patch - 0.52
    cover = np.clip(depth * 2.6, 0.0, 0.97)
    cover = np.where(surface.up > 0.0, cover, 0.0)
    trodden = np.take(_TRODDEN, surface.labels) * (1.0 + np.float32(0.05) * surface.patch)
    tone = coloured([(trodden, _SNOW)])
    share = grey(np.asarray(cover, np.float32))
    return np.asarray(surface.albedo + (tone - surface.albedo) * share, np.float32)


def wet_ground(surface: Surface, light: _FloatArray, conditions: Conditions) -> _FloatArray:
    """Adds the mirror image of what stands above the horizon to paved ground.

    Args:
        surface: The surfaces.
        light: (H, W, 3) radiance, dry.
        conditions: The weather.

    Returns:
        (H, W, 3) radiance. Fresnel: the flatter the ray the stronger the mirror.
    """
    if conditions.wet <= 0.01:
        return light
    height = light.shape[0]
    horizon = surface.view.centre[1]
    source = np.clip(np.round(2 * horizon - np.arange(height)), 0, height - 1).astype(np.intp)
    mirror = cv2.blur(np.ascontiguousarray(light[source]), (3, 11))
    paved = surface.ground & ((surface.labels == ROAD) | (surface.labels == SIDEWALK))
    pool = np.clip(0.62 + 0.42 * surface.patch, 0.12, 1.0)
    fresnel = (0.07 + _REFLECTANCE_SKY * np.exp(-np.maximum(surface.view.dv, 0.0) * 6.0)) * pool
    share = np.where(paved, fresnel * conditions.wet, 0.0).astype(np.float32)
    drier = np.where(surface.ground, np.float32(0.45), np.float32(0.15))
    soaked = np.float32(1.0) - drier * np.float32(conditions.wet)
    return np.asarray(light * grey(soaked) + mirror * grey(share), np.float32)


def add_fog(
    surface: Surface, light: _FloatArray, conditions: Conditions, lobe: _FloatArray
) -> _FloatArray:
    """Koschmieder's law: light * T + airlight * (1 - T), T = exp(-extinction * depth).

    Source: Koschmieder 1924; the sky counts as a fixed length of air. At night the airlight is
    what the headlights (lobe, see light.beam) and the town scatter back.
    """
    path = np.minimum(surface.depth, _SKY_AIR)
    through = np.exp(path * np.float32(-conditions.fog))
    day, lamp = daylight(conditions), lamplight(conditions)
    haze = 0.60 if conditions.weather != "snow" else 0.70
    warm = 0.02 * conditions.warmth
    air = np.array([haze + warm, haze + 0.015, haze + 0.03 - warm], np.float32) * day
    air = air + np.array([0.036, 0.036, 0.038], np.float32) * lamp
    lost = np.float32(1.0) - through
    scattered = [(lost, air)]
    if lamp > 0.0:
        back = np.array([0.12, 0.118, 0.11], np.float32) * lamp
        scattered.append((lobe * lost, back))
    return np.asarray(light * grey(through) + coloured(scattered), np.float32)


def add_falling(
    light: _FloatArray, conditions: Conditions, lobe: _FloatArray, rng: np.random.Generator
) -> _FloatArray:
    """Draws falling snow and rain over the image; near drops and flakes are larger.

    Args:
        light: (H, W, 3) radiance.
        conditions: The weather.
        lobe: The headlights, see light.beam.
        rng: Places flakes and streaks.

    Returns:
        (H, W, 3) radiance.
    """
    day, lamp = daylight(conditions), lamplight(conditions)
    beams, ones = lobe * np.float32(lamp), np.ones_like(lobe)
    out = light
    if conditions.snow_fall > 0.01:
        share = _flakes(light.shape[:2], conditions.snow_fall, rng)
        white = np.array([0.86, 0.88, 0.92], np.float32)
        bright = coloured([(ones, white * day + 0.05 * lamp), (beams, white * 0.48)])
        out = out + (bright - out) * grey(share)
    if conditions.rain > 0.01:
        share = _streaks(light.shape[:2], conditions.rain, rng)
        bright = grey(beams * np.float32(0.30) + np.float32(0.72 * day + 0.03 * lamp))
        out = out + (bright - out) * grey(share)
    return np.asarray(out, np.float32)


def _flakes(size: tuple[int, ...], amount: float, rng: np.random.Generator) -> _FloatArray:
    """Opacity of falling flakes, (H, W) float32; the near ones are large and blurred."""
    height, width = size
    mask = np.zeros((height, width), np.uint8)
    count = int(330 * amount)
    depth = 1.0 + 17.0 * rng.random(count) ** 1.4
    at = (rng.random((count, 2)) * (width, height) * 16).astype(np.int64).tolist()
    radius = np.clip(width / 320.0 * 5.5 / depth, 0.45, 3.6)
    value = np.clip(60 + 190 / np.sqrt(radius + 0.4), 90, 215).astype(int).tolist()
    for centre, reach, tone in zip(at, (radius * 16).astype(int).tolist(), value, strict=True):
        cv2.circle(mask, centre, reach, tone, -1, cv2.LINE_AA, 4)
    return np.asarray(cv2.GaussianBlur(mask, (3, 3), 0.7) * np.float32(1 / 255), np.float32)


def _streaks(size: tuple[int, ...], amount: float, rng: np.random.Generator) -> _FloatArray:
    """Opacity of falling rain, (H, W) float32."""
    height, width = size
    mask = np.zeros((height, width), np.uint8)
    count = int(190 * amount)
    tilt = float(rng.normal(0.0, 0.05))
    start = rng.random((count, 2)) * (width, height)
    length = width / 320.0 * (4.0 + 22.0 * rng.random(count) ** 2)
    stop = start + np.stack([length * tilt, length], -1)
    tones = rng.integers(40, 150, count).tolist()
    ends = np.round(np.stack([start, stop], 1)).astype(int).tolist()
    for (a, b), tone in zip(ends, tones, strict=True):
        cv2.line(mask, a, b, tone, 1, cv2.LINE_AA)
    return np.asarray(mask * np.float32(0.6 / 255), np.float32)


def add_lens_drops(
    image: NDArray[np.uint8], conditions: Conditions, rng: np.random.Generator
) -> None:
    """Puts water drops on the lens: small, upside-down, blurred pictures of the scene."""
    height, width = image.shape[:2]
    for _ in range(int(conditions.rain * rng.uniform(4.0, 13.0))):
        radius = int(rng.uniform(2.0, 6.5) * width / 320.0) + 1
        x = int(rng.integers(radius, width - radius))
        y = int(rng.integers(radius, height - radius))
        reach = 4 * radius
        part = image[max(y - reach, 0) : y + reach, max(x - reach, 0) : x + reach]
        side = 2 * radius
        small = cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA)[::-1, ::-1]
        axis = (np.arange(side) - radius + 0.5) / radius
        share = np.clip((1.0 - np.hypot(axis[:, None], axis[None, :])) * 2.5, 0.0, 0.85)[..., None]
        target = image[y - radius : y + radius, x - radius : x + radius]
        mixed = target * (1 - share) + cv2.blur(np.ascontiguousarray(small), (3, 3)) * share
        target[:] = mixed.astype(np.uint8)


def expose(
    light: _FloatArray, conditions: Conditions, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """The camera: gain, tone curve (gamma 2 with a soft shoulder), lens blur, noise.

    After the square root the photon noise has the same spread at every brightness (Anscombe);
    the read noise comes through where it is dark.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    height, width = light.shape[:2]
    gained = light * np.float32(conditions.exposure)
    if conditions.rain > 0.0:
        fade = 0.35 * conditions.rain
        mix = (1.0 - fade) * np.eye(3, dtype=np.float32) + np.float32(fade / 3)
        gained = np.asarray(gained @ np.asarray(mix, np.float32), np.float32)
    np.maximum(gained, np.float32(0.0), out=gained)
    shoulder = np.float32(1 / 1.12) + np.float32(0.16 / 1.12) * gained
    gained /= shoulder
    display = np.sqrt(gained, out=gained)
    display = np.asarray(cv2.GaussianBlur(display, (3, 3), 0.5), np.float32)
    noise = sensor_noise()
    row, column = rng.integers(0, 1024 - height + 1), rng.integers(0, 1024 - width + 1)
    window = noise[row : row + height, column : column + width]
    spread = np.float32(1.4) - np.float32(0.35) * np.minimum(display, np.float32(1.0))
    spread *= window
    spread *= np.float32(conditions.noise)
    display += spread
    np.maximum(display, np.float32(0.0), out=display)
    return np.asarray(cv2.convertScaleAbs(display, alpha=255.0), np.uint8)
