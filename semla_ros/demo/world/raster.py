"""Projects faces and paints their numbers, far to near, into one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from semla_ros.demo.world.faces import Faces, newell
from semla_ros.demo.world.scene import Camera

NEAR: Final = 0.35
_SHIFT: Final = 4
_FAR_OFF: Final = 6000.0


@dataclass(frozen=True, eq=False)
class View:
    """The pixel rays of one camera.

    Attributes:
        camera: The camera.
        focal: Focal length in pixels.
        centre: Principal point (column, row); the horizon passes through it.
        du: (H, W) float32, X / Z of the ray through each pixel.
        dv: (H, W) float32, Y / Z (downwards) of the ray through each pixel.
    """

    camera: Camera
    focal: float
    centre: tuple[float, float]
    du: NDArray[np.float32]
    dv: NDArray[np.float32]


def view_of(camera: Camera, size: tuple[int, int]) -> View:
    """The rays of a camera for an image of (height, width) pixels."""
    height, width = size
    focal = camera.focal * width
    centre = (width / 2 - 0.5, camera.horizon * height)
    column = (np.arange(width, dtype=np.float32) - np.float32(centre[0]))[None, :] / focal
    row = (np.arange(height, dtype=np.float32) - np.float32(centre[1]))[:, None] / focal
    cos, sin = float(np.cos(camera.roll)), float(np.sin(camera.roll))
    return View(
        camera,
        focal,
        centre,
        np.asarray(cos * column + sin * row, np.float32),
        np.asarray(cos * row - sin * column, np.float32),
    )


def to_camera(camera: Camera, world: NDArray[np.float32]) -> NDArray[np.float32]:
    """World points (..., 3) in camera axes: X right, Y down, Z forward."""
    out = np.empty_like(world)
    z = world[..., 2] - camera.s
    out[..., 0] = world[..., 0] - camera.x - camera.slope * z + 0.5 * camera.bend * z * z
    out[..., 1] = camera.height - world[..., 1]
    out[..., 2] = z
    return out


def ground_at(
    view: View, depth: NDArray[np.float32], du: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """World (x, s) of ground points at these depths and ray directions."""
    camera = view.camera
    x = du * depth + camera.x + camera.slope * depth - 0.5 * camera.bend * depth * depth
    return np.asarray(x, np.float32), np.asarray(depth + camera.s, np.float32)


def project(view: View, points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Camera points (..., 3) with positive depth as (..., 2) pixel positions."""
    x = points[..., 0] / points[..., 2]
    y = points[..., 1] / points[..., 2]
    cos, sin = float(np.cos(view.camera.roll)), float(np.sin(view.camera.roll))
    out = np.stack([cos * x - sin * y, sin * x + cos * y], -1) * view.focal
    out += np.asarray(view.centre, np.float32)
    return np.clip(out, -_FAR_OFF, _FAR_OFF).astype(np.float32)


def _clipped(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """The part of one polygon (N, 3) beyond the near plane; may be empty."""
    kept: list[NDArray[np.float32]] = []
    for a, b in zip(points, np.roll(points, -1, 0), strict=True):
        if a[2] >= NEAR:
            kept.append(a)
        if (a[2] >= NEAR) != (b[2] >= NEAR):
            kept.append(a + (b - a) * np.float32((NEAR - a[2]) / (b[2] - a[2])))
    return np.asarray(kept, np.float32).reshape(-1, 3)


@dataclass(frozen=True, eq=False)
class Projected:
    """The visible faces of one view, F of them.

    Attributes:
        faces: The faces.
        points: (F, MAX_VERTICES, 3) float32 corners in camera axes.
        normal: (F, 3) float32 outward unit normals in camera axes.
        pixels: (F, MAX_VERTICES, 2) int32 fixed-point pixel positions.
    """

    faces: Faces
    points: NDArray[np.float32]
    normal: NDArray[np.float32]
    pixels: NDArray[np.int32]


def visible(view: View, faces: Faces) -> Projected:
    """Projects the faces that look at the camera and touch the image, in their order."""
    points = to_camera(view.camera, faces.verts)
    cross = newell(points - points[:, :1])
    facing = np.einsum("fi,fi->f", cross, points[:, 0]) > 0
    ahead = points[..., 2].max(1) > NEAR
    keep = np.flatnonzero(facing & ahead)
    safe = points[keep]
    safe[..., 2] = np.maximum(safe[..., 2], NEAR)
    pixels = project(view, safe)
    height, width = view.du.shape
    low, high = pixels.min(1), pixels.max(1)
    inside = (high[:, 0] >= 0) & (high[:, 1] >= 0) & (low[:, 0] < width) & (low[:, 1] < height)
    inside &= ((high - low).max(1) > 0.7) | (points[keep][..., 2].min(1) < NEAR)
    chosen = keep[inside]
    normal = -cross[chosen]
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
    fixed = np.round(pixels[inside] * (1 << _SHIFT)).astype(np.int32)
    return Projected(faces.take(chosen), points[chosen], normal.astype(np.float32), fixed)


def paint(
    image: NDArray[np.int32] | NDArray[np.uint8],
    view: View,
    shown: Projected,
    values: Sequence[int],
) -> None:
    """Fills each face with its value, in order, into the (H, W) image."""
    close = shown.points[..., 2].min(1) < NEAR
    counts = shown.faces.count.tolist()
    for k, (value, count) in enumerate(zip(values, counts, strict=True)):
        if close[k]:
            part = _clipped(shown.points[k, :count])
            if len(part) < 3:
                continue
            pixels = np.round(project(view, part) * (1 << _SHIFT)).astype(np.int32)
        else:
            pixels = shown.pixels[k, :count]
        cv2.fillPoly(image, [pixels], value, cv2.LINE_8, _SHIFT)
