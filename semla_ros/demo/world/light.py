"""Daylight, headlights, street lamps and the sky."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from semla_ros.demo.world.classes import SIGN, SKY
from semla_ros.demo.world.conditions import Conditions
from semla_ros.demo.world.scene import Scene
from semla_ros.demo.world.surface import Surface
from semla_ros.demo.world.textures import clouds

_FloatArray = NDArray[np.float32]
_HALF: Final = 2
_LAMP_COLOUR: Final = np.array([1.0, 0.78, 0.45], np.float32)
_BEAM_COLOUR: Final = np.array([1.0, 0.95, 0.82], np.float32)
_MOON_COLOUR: Final = np.array([0.55, 0.70, 1.15], np.float32)
_LAMP_REACH: Final = 55.0
_SOFT_MAX: Final = 6.0


def daylight(conditions: Conditions) -> float:
    """How much daylight there is, 0 to 1."""
    return float((1.0 - conditions.night) ** 2.5)


def lamplight(conditions: Conditions) -> float:
    """How far artificial lights are switched on, 0 to 1."""
    t = min(max((conditions.night - 0.3) / 0.4, 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


def beam(surface: Surface) -> _FloatArray:
    """Angular shape of the low-beam headlights, (H, W) float32, 0 to 1."""
    du, dv = surface.view.du, surface.view.dv
    width = np.where(dv > 0.04, np.float32(1 / 0.26), np.float32(1 / 0.12))
    offset = (dv - np.where(dv > 0.04, np.float32(0.10), np.float32(0.065))) * width
    upright = np.exp(-offset * offset)
    sideways = du * np.float32(1 / 0.42)
    lobe = np.exp(-sideways * sideways)
    return np.asarray(lobe * np.maximum(upright, np.float32(0.10)), np.float32)


def coloured(sources: Sequence[tuple[_FloatArray, _FloatArray]]) -> _FloatArray:
    """The sum of fields of one shape, each times its RGB colour; (..., 3) float32."""
    fields = np.stack([field.reshape(-1) for field, _ in sources])
    colours = np.stack([np.asarray(colour, np.float32) for _, colour in sources])
    return np.asarray(fields.T @ colours, np.float32).reshape((*sources[0][0].shape, 3))


def grey(field: _FloatArray) -> _FloatArray:
    """An (H, W) field as three equal channels, (H, W, 3)."""
    return np.asarray(cv2.merge((field, field, field)), np.float32)


def _lamps(scene: Scene, surface: Surface) -> _FloatArray:
    """Light of the street lamps, (H, W) float32."""
    camera, view = scene.camera, surface.view
    z = surface.depth[::_HALF, ::_HALF]
    light = np.zeros_like(z)
    if not len(scene.street.lamps):
        return np.zeros_like(surface.depth)
    ahead = scene.street.lamps[:, 2] - camera.s
    near = scene.street.lamps[(ahead > -4.0) & (ahead < _LAMP_REACH)]
    x, y = view.du[::_HALF, ::_HALF] * z, view.dv[::_HALF, ::_HALF] * z
    for lamp in near:
        lz = float(lamp[2]) - camera.s
        lx = float(lamp[0]) - camera.x - camera.slope * lz + 0.5 * camera.bend * lz * lz
        ly = camera.height - float(lamp[1])
        square = (x - lx) ** 2 + (y - ly) ** 2 + (z - lz) ** 2
        light += 16.0 / (square + 6.0)
    height, width = surface.depth.shape
    return np.asarray(cv2.resize(light, (width, height)), np.float32)


def illuminate(
    scene: Scene, surface: Surface, conditions: Conditions, lobe: _FloatArray
) -> _FloatArray:
    """Light that falls on every surface pixel, (H, W, 3) float32; lobe is from beam."""
    day, lamp = daylight(conditions), lamplight(conditions)
    direct = 1.75 * (1.0 - conditions.cloud) ** 1.3 * day
    diffuse = (0.42 + 0.30 * conditions.cloud) * day
    warm = conditions.warmth
    sky = np.array([0.90 + 0.06 * warm, 0.97, 1.08 - 0.08 * warm], np.float32) * diffuse
    sun = np.array([1.06 + 0.10 * warm, 1.0, 0.90 - 0.14 * warm], np.float32) * direct
    sources = [(surface.open, sky + _MOON_COLOUR * (0.022 * lamp))]
    if direct > 0.0:
        sources.append((surface.sunlit, sun))
    if lamp > 0.0:
        path = surface.depth * np.float32(1 / 15.0)
        cone = lobe / (1.0 + path * path)
        cone *= np.where(surface.labels == SIGN, np.float32(2.4), np.float32(0.85))
        sources.append((cone, _BEAM_COLOUR * lamp))
        sources.append((_lamps(scene, surface), _LAMP_COLOUR * (0.55 * lamp)))
    return coloured(sources)


def sky(scene: Scene, surface: Surface, conditions: Conditions) -> _FloatArray:
    """Colour of the sky pixels, in the order of the flattened image, (P, 3) float32."""
    at = np.flatnonzero(surface.labels == SKY)
    up = np.maximum(-np.take(surface.view.dv, at), 0.0) + np.float32(0.12)
    du = np.take(surface.view.du, at)
    field = clouds()
    rows = (26.0 / up + scene.seed * 37 % 256).astype(np.intp) & 255
    columns = (du * 26.0 / up + scene.seed * 91 % 256 + 3.0 * scene.time).astype(np.intp) & 255
    noise = field[rows, columns]
    height = np.clip((up - np.float32(0.12)) * np.float32(1.8), 0.0, 1.0)
    offset, lamp = np.float32(2.6 * conditions.cloud - 1.1), lamplight(conditions)
    cover = np.clip((noise + offset) * np.float32(0.9), 0.0, 1.0)
    bare, rise, warm = 1 - cover, np.sqrt(height), conditions.warmth
    low = np.array([0.66 + 0.12 * warm, 0.76, 0.86 - 0.10 * warm], np.float32)
    high = np.array([0.14, 0.32, 0.72], np.float32)
    cloud = np.array([0.86, 0.87, 0.89], np.float32) * (1 - 0.38 * conditions.cloud)
    town = np.array([0.060, 0.048, 0.040], np.float32)
    dark = np.array([0.008, 0.012, 0.026], np.float32)
    day = daylight(conditions)
    return coloured(
        [
            (bare * (1 - rise), low * day),
            (bare * rise, high * day),
            (cover * (1 + np.float32(0.10) * noise), cloud * day),
            (cover, 0.018 * lamp * _LAMP_COLOUR),
            (np.ones_like(cover), dark * lamp),
            ((1 - height) ** 3, (town - dark) * lamp),
        ]
    )


def halo(light: _FloatArray, conditions: Conditions) -> _FloatArray:
    """Glow around bright lights, wider and stronger in fog, rain and snow; (H, W, 3)."""
    height, width = light.shape[:2]
    bright = np.clip(light - 0.85, 0.0, _SOFT_MAX)
    small = cv2.resize(bright, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    haze = min(1.0, conditions.fog * 22.0 + 0.35 * conditions.rain)
    tight = cv2.GaussianBlur(small, (0, 0), 1.3)
    wide = cv2.GaussianBlur(small, (0, 0), 5.0 + 2.0 * haze)
    mixed = tight * (0.22 + 0.25 * haze) + wide * (0.12 + 0.9 * haze)
    return np.asarray(cv2.resize(mixed, (width, height)), np.float32)
