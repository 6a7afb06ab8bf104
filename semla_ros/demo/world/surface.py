"""Deferred shading: from painted face numbers to albedo, class, depth and light response."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from semla_ros.demo.world.buildings import skyline
from semla_ros.demo.world.classes import ROAD, SKY
from semla_ros.demo.world.faces import BLACK, FaceList, Faces, join, linear
from semla_ros.demo.world.ground import MATERIALS, materials
from semla_ros.demo.world.plants import treeline
from semla_ros.demo.world.raster import Projected, View, ground_at, paint, view_of, visible
from semla_ros.demo.world.scene import Scene
from semla_ros.demo.world.street import VIEW
from semla_ros.demo.world.textures import KIND, KINDS, LEVELS, PATCH, TILE, atlas, patches

SKY_DEPTH: Final = 1000.0
_FloatArray = NDArray[np.float32]
_KINDS: Final = np.array([KIND[m.texture] for m in MATERIALS.values()], np.intp)
_LABELS: Final = np.array([m.label for m in MATERIALS.values()], np.uint8)
_HOLDS_SNOW: Final = np.array([m.holds_snow for m in MATERIALS.values()], np.float32)
_WEAR: Final = np.array([m.wear for m in MATERIALS.values()], np.float32)
_WARM: Final = np.array([1.0, 0.72, 0.36], np.float32)


@dataclass(frozen=True, eq=False)
class Surface:
    """Everything about the visible surfaces that weather and light need; (H, W) each.

    Attributes:
        view: The pixel rays.
        albedo: (H, W, 3) float32 linear colour.
        labels: uint8 class ids.
        depth: float32 metres along the view axis, SKY_DEPTH in the sky.
        sunlit: float32, cosine of the sun's incidence, 0 in shadow.
        open: float32, share of the sky that lights the surface.
        glow: (H, W, 3) float32 light emitted at night.
        up: float32, how well snow holds, 0 to 1.
        ground: bool, where the ground is seen.
        patch: float32 slow noise of the ground and texture noise elsewhere.
    """

    view: View
    albedo: _FloatArray
    labels: NDArray[np.uint8]
    depth: _FloatArray
    sunlit: _FloatArray
    open: _FloatArray
    glow: _FloatArray
    up: _FloatArray
    ground: NDArray[np.bool_]
    patch: _FloatArray

    def put(self, at: NDArray[np.intp], **values: NDArray[np.generic]) -> None:
        """Writes fields at flat pixel positions, in place."""
        for name, value in values.items():
            field = getattr(self, name)
            field.reshape(-1, *field.shape[2:])[at] = value


def _horizon(scene: Scene) -> Faces | None:
    """The far row that closes the view; it keeps its distance from the camera."""
    if scene.street.horizon == "open":
        return None
    rng = np.random.default_rng([29, int(scene.street.sun.azimuth * 1e6) & 0xFFFF])
    faces = FaceList()
    if scene.street.horizon == "trees":
        treeline(faces, scene.camera.s + VIEW + 25.0, rng, span=190.0)
    else:
        skyline(faces, scene.camera.s + VIEW + 25.0, rng, span=190.0)
    return faces.build()


def _seen(scene: Scene) -> tuple[Faces, Faces]:
    """All faces within view, far to near, and all ground shadows, contact shadows last."""
    street, s = scene.street, scene.camera.s
    low, high = np.searchsorted(street.faces.key, (s - 1.0, s + VIEW - 5.0)).tolist()
    begin, end = np.searchsorted(street.shadows.key, (s - 15.0, s + 70.0)).tolist()
    solid, dark = [street.faces.take(slice(low, high))], [street.shadows.take(slice(begin, end))]
    for mover in scene.movers:
        at = mover.at(scene.time)[1] - s
        if 0.5 < at < VIEW - 20.0:
            solid.append(mover.faces(scene.time))
            dark.append(mover.shadow.placed(*mover.at(scene.time)))
    far = _horizon(scene)
    faces, shadows = join([*solid, far] if far is not None else solid), join(dark)
    far_to_near = np.argsort(-faces.key, kind="stable")
    return faces.take(far_to_near), shadows.take(np.argsort(shadows.label, kind="stable"))


def _texels(kind: NDArray[np.intp], level: NDArray[np.intp], u: _FloatArray, v: _FloatArray,
            scale: _FloatArray) -> _FloatArray:  # fmt: skip
    """(P, 2) texels at metric positions u, v."""
    column = (u * scale).astype(np.intp) & (TILE - 1)
    row = (v * scale).astype(np.intp) & (TILE - 1)
    index = ((level * len(KINDS) + kind) * TILE + row) * TILE + column
    return np.asarray(np.take(atlas(), index, axis=0), np.float32)


def _levels(depth: _FloatArray, scale: _FloatArray | float, focal: float) -> NDArray[np.intp]:
    """Blur level at which one texel is about one pixel."""
    _, exponent = np.frexp(depth * (scale / np.float32(focal)))
    return np.asarray(np.clip(exponent, 0, LEVELS - 1), np.intp)


def shade(scene: Scene, size: tuple[int, int]) -> Surface:
    """Draws the scene without weather.

    Args:
        scene: The scene.
        size: (height, width) in pixels.

    Returns:
        The visible surfaces.
    """
    view = view_of(scene.camera, size)
    solid, dark = _seen(scene)
    ids = np.zeros(size, np.int32)
    shown = visible(view, solid)
    paint(ids, view, shown, range(1, 1 + len(shown.faces)))
    surface = Surface(
        view=view,
        albedo=np.zeros((*size, 3), np.float32),
        labels=np.full(size, SKY, np.uint8),
        depth=np.full(size, SKY_DEPTH, np.float32),
        sunlit=np.zeros(size, np.float32),
        open=np.ones(size, np.float32),
        glow=np.zeros((*size, 3), np.float32),
        up=np.zeros(size, np.float32),
        ground=(ids == 0) & (view.dv > 0.004),
        patch=np.zeros(size, np.float32),
    )
    _shade_ground(scene, surface, visible(view, dark))
    _shade_faces(scene, surface, shown, ids)
    return surface


def _shade_ground(scene: Scene, surface: Surface, shadows: Projected) -> None:
    """Fills the ground pixels of the surface, in place."""
    view = surface.view
    at = np.flatnonzero(surface.ground)
    dv, du = np.take(view.dv, at), np.take(view.du, at)
    depth = np.asarray(view.camera.height / dv, np.float32)
    x, s = ground_at(view, depth, du)
    material = materials(scene.street.profile, x, s)
    street = scene.street
    tones = np.array([linear(street.tones.get(m, BLACK)) for m in MATERIALS], np.float32)
    levels = np.minimum(_levels(depth, 32.0, view.focal) + 1, LEVELS - 1)
    texels = _texels(_KINDS[material], levels, x, s, np.float32(32.0) * np.ones_like(x))
    cells = patches().reshape(-1)
    row = (s * np.float32(10.0)).astype(np.intp) & (PATCH - 1)
    column = (x * np.float32(20.0)).astype(np.intp) & (PATCH - 1)
    patch = np.take(cells, row * PATCH + column)
    tone = texels[:, 0] * (np.float32(1.0) + np.take(_WEAR, material) * patch)
    lane = np.abs(x) * np.float32(1 / 3.0)
    wheel = np.abs(lane - np.floor(lane) - np.float32(0.5))
    track = (wheel - np.float32(0.25)) * np.float32(1 / 0.09)
    worn = np.where(_LABELS[material] == ROAD, np.float32(0.26), np.float32(0.0))
    shadow = np.zeros(surface.labels.shape, np.uint8)
    paint(shadow, view, shadows, shadows.faces.label.tolist())
    shaded = np.take(shadow, at)
    high = np.float32(street.sun.towards()[1])
    surface.put(
        at,
        albedo=np.take(tones, material, axis=0) * tone[:, None],
        labels=_LABELS[material],
        depth=depth,
        sunlit=np.where(shaded == 0, high, np.float32(0)),
        open=np.array([1.0, 0.92, 0.35], np.float32)[shaded],
        up=np.take(_HOLDS_SNOW, material) - worn * np.exp(-track * track),
        patch=patch * np.float32(0.8) + (texels[:, 0] - 1.0) * 2.6,
    )


def _axes(normal: _FloatArray) -> tuple[_FloatArray, _FloatArray]:
    """Texture axes of faces: horizontal and the one up the face, (F, 3) each."""
    across = np.stack([normal[:, 2], np.zeros(len(normal), np.float32), -normal[:, 0]], -1)
    length = np.linalg.norm(across, axis=1, keepdims=True)
    across = np.where(length > 0.05, across / (length + 1e-9), np.array([1, 0, 0], np.float32))
    sign = np.where(across[:, :1] + across[:, 2:] < 0, -1.0, 1.0)
    across = np.asarray(across * sign, np.float32)
    along = np.cross(normal, across)
    flip = np.where(along[:, 1:2] > 0.0, -1.0, 1.0)
    return across, np.asarray(along * flip, np.float32)


def _shade_faces(scene: Scene, surface: Surface, shown: Projected, ids: NDArray[np.int32]) -> None:
    """Fills the pixels of faces, in place."""
    at = np.flatnonzero(ids)
    if not len(at):
        return
    faces, view = shown.faces, surface.view
    k = np.take(ids, at).astype(np.intp) - 1
    anchor, world = shown.points[:, 0], faces.verts[:, 0]
    across, along = _axes(shown.normal)
    distance = np.einsum("fi,fi->f", shown.normal, anchor)
    plane = shown.normal / np.where(np.abs(distance) < 1e-6, -1e-6, distance)[:, None]
    start = np.where(np.abs(across[:, 0]) > np.abs(across[:, 2]), world[:, 0], world[:, 2])
    shift_u = start - faces.origin[:, 0] - np.einsum("fi,fi->f", across, anchor)
    rise = np.where(np.abs(along[:, 1]) > 0.5, world[:, 1], 0.0) - faces.origin[:, 1]
    shift_v = rise - np.einsum("fi,fi->f", along, anchor)
    nearest, farthest = shown.points[..., 2].min(1), shown.points[..., 2].max(1)
    bounds = np.column_stack([np.maximum(nearest, 0.2), farthest + 0.01])
    table = np.column_stack([plane, across, along, shift_u, shift_v, faces.scale, bounds])
    row = np.take(np.ascontiguousarray(table.T, np.float32), k, axis=1)
    du, dv = np.take(view.du, at), np.take(view.dv, at)
    inverse = row[0] * du + row[1] * dv + row[2]
    depth = np.clip(1.0 / np.maximum(inverse, 1e-4), row[12], row[13])
    u = depth * (row[3] * du + row[4] * dv + row[5]) + row[9]
    v = depth * (row[6] * du + row[7] * dv + row[8]) + row[10]
    scale = row[11]
    level = _levels(depth, scale, view.focal)
    texels = _texels(np.take(faces.texture.astype(np.intp), k), level, u, v, scale)
    colour = np.take(faces.colour, k, axis=0)
    mask = texels[:, 1:]
    first = colour[:, :3] * texels[:, :1]
    sunlit, sky = _exposure(scene, shown)
    glowing = np.flatnonzero(np.take(faces.glow.max(1) > 0, k))
    cells = tuple(np.floor((c * scale)[glowing] / TILE).astype(np.int64) for c in (u, v))
    surface.put(
        at,
        albedo=first + (colour[:, 3:] - first) * mask,
        labels=np.take(faces.label, k),
        depth=depth,
        sunlit=np.take(sunlit, k),
        open=np.take(sky, k),
        up=np.take(faces.up, k),
        patch=(texels[:, 0] - 1.0) * 2.0,
    )
    lit = _lit_windows(cells, np.take(faces.glow[:, 1], k[glowing]), scene.seed)
    lamp = first[glowing] * np.take(faces.glow[:, :1], k[glowing], axis=0) * (1 - mask[glowing])
    surface.put(at[glowing], glow=lamp + lit[:, None] * mask[glowing] * _WARM)


def _exposure(scene: Scene, shown: Projected) -> tuple[_FloatArray, _FloatArray]:
    """How sun and sky reach the faces, (F,) each."""
    sun = np.asarray(scene.street.sun.towards(), np.float32) * np.array([1, -1, 1], np.float32)
    cosine = np.clip(shown.normal @ sun, 0.0, 1.0)
    soft = shown.faces.texture == KIND["foliage"]
    cosine = np.where(soft, 0.55 * float(-sun[1]) + 0.2, cosine).astype(np.float32)
    return cosine, np.clip(0.62 - 0.38 * shown.normal[:, 1], 0.2, 1.0).astype(np.float32)


def _lit_windows(
    cells: tuple[NDArray[np.int64], ...], share: _FloatArray, seed: int
) -> NDArray[np.float64]:
    """Brightness of the windows in texture cells (column, row), 0 where it is dark; (P,)."""
    column, row = cells
    dice = ((column * 7919 + row * 104729 + seed * 31) * 2654435761 >> 12 & 255) / 255.0
    return np.where(dice < 0.5 * share, 0.35 + dice, 0.0)
