"""Flat coloured polygons: the only thing the world's objects are made of.

World axes: x to the right, y up, s forward along the street; metres. A face is visible from
its outer side only, so solid bodies need no sorting of their own faces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from semla_ros.demo.world.textures import KIND

MAX_VERTICES: Final = 12

Point = tuple[float, float, float]
Colour = tuple[float, float, float]
BLACK: Final[Colour] = (0.02, 0.02, 0.02)


@dataclass(frozen=True, slots=True)
class Paint:
    """How a face looks.

    Attributes:
        colour: Display colour.
        second: Display colour where the texture says so.
        texture: A texture kind.
        scale: Texels per metre.
        glow: Light emitted at night by the two colours.
    """

    colour: Colour
    second: Colour = BLACK
    texture: str = "plain"
    scale: float = 20.0
    glow: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, eq=False)
class Faces:
    """A batch of polygons, F of them.

    Attributes:
        verts: (F, MAX_VERTICES, 3) float32 world points; the last one repeated as padding.
        count: (F,) int32, vertices really used.
        label: (F,) uint8 class ids.
        colour: (F, 6) float32, the linear RGB of the first and second texture colour.
        texture: (F,) int32 texture kinds.
        scale: (F,) float32 texels per metre.
        origin: (F, 2) float32, world (horizontal, vertical) position of the texture's origin.
        glow: (F, 2) float32 emitted light of the first and second colour at night.
        up: (F,) float32, how well lying snow holds on the face, 0 to 1.
        key: (F,) float32, s at which the face is sorted into the painter's order.
    """

    verts: NDArray[np.float32]
    count: NDArray[np.int32]
    label: NDArray[np.uint8]
    colour: NDArray[np.float32]
    texture: NDArray[np.int32]
    scale: NDArray[np.float32]
    origin: NDArray[np.float32]
    glow: NDArray[np.float32]
    up: NDArray[np.float32]
    key: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.count)

    def take(self, index: NDArray[np.intp] | slice) -> Faces:
        """The faces at the given positions, in that order."""
        return Faces(**{name: value[index] for name, value in vars(self).items()})

    def placed(self, x: float, s: float, *, quarter_turns: int = 0) -> Faces:
        """The faces turned about the vertical axis, then moved to (x, s)."""
        verts = self.verts.copy()
        for _ in range(quarter_turns % 4):
            verts = np.stack([-verts[..., 2], verts[..., 1], verts[..., 0]], -1)
        verts += np.asarray((x, 0.0, s), np.float32)
        key = np.full(len(self), np.float32(s))
        return replace(self, verts=verts, key=key, origin=self.origin + np.float32(x))


_COLUMNS: Final[dict[str, tuple[type[np.generic], tuple[int, ...]]]] = {
    "verts": (np.float32, (MAX_VERTICES, 3)),
    "count": (np.int32, ()),
    "label": (np.uint8, ()),
    "colour": (np.float32, (6,)),
    "texture": (np.int32, ()),
    "scale": (np.float32, ()),
    "origin": (np.float32, (2,)),
    "glow": (np.float32, (2,)),
    "up": (np.float32, ()),
    "key": (np.float32, ()),
}
"""dtype and shape of one face in each array of `Faces`."""


def join(batches: Sequence[Faces]) -> Faces:
    """One batch of all faces, in order."""
    names = vars(batches[0])
    return Faces(**{n: np.concatenate([getattr(b, n) for b in batches]) for n in names})


def linear(colour: Colour) -> Colour:
    """A display colour (0 to 1, gamma 2) as linear light."""
    return (colour[0] ** 2, colour[1] ** 2, colour[2] ** 2)


def newell(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Normals of polygons (F, V, 3), not of unit length; repeated corners do not matter."""
    after = np.concatenate([points[:, 1:], points[:, :1]], 1)
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    x1, y1, z1 = after[..., 0], after[..., 1], after[..., 2]
    parts = (
        np.einsum("fv,fv->f", y, z1) - np.einsum("fv,fv->f", z, y1),
        np.einsum("fv,fv->f", z, x1) - np.einsum("fv,fv->f", x, z1),
        np.einsum("fv,fv->f", x, y1) - np.einsum("fv,fv->f", y, x1),
    )
    return np.asarray(np.stack(parts, -1), np.float32)


class FaceList:
    """Collects polygons of one or several objects."""

    def __init__(self) -> None:
        self._outward: list[list[float]] = []
        self._columns: dict[str, list[object]] = {name: [] for name in _COLUMNS}

    def add(
        self,
        points: Sequence[Point],
        label: int,
        paint: Paint,
        *,
        inside: Point | None = None,
        origin: tuple[float, float] = (0.0, 0.0),
        up: float = 0.0,
        key: float | None = None,
    ) -> None:
        """Adds one planar polygon.

        Args:
            points: 3 to MAX_VERTICES corners in order.
            label: Class id.
            paint: How it looks.
            inside: A point behind the face; without it the face looks towards -s.
            origin: Texture origin (horizontal, vertical) in metres.
            up: How well snow holds on it.
            key: Sorting depth s; the mean of the corners when left out.
        """
        centre = [sum(axis) / len(points) for axis in zip(*points, strict=True)]
        behind = inside or (centre[0], centre[1], centre[2] + 1.0)
        self._outward.append([c - b for c, b in zip(centre, behind, strict=True)])
        values = {
            "verts": [*points, *[points[-1]] * (MAX_VERTICES - len(points))],
            "count": len(points),
            "label": label,
            "colour": linear(paint.colour) + linear(paint.second),
            "texture": KIND[paint.texture],
            "scale": paint.scale,
            "origin": origin,
            "glow": paint.glow,
            "up": up,
            "key": centre[2] if key is None else key,
        }
        for name, value in values.items():
            self._columns[name].append(value)

    def build(self) -> Faces:
        """All polygons as one batch."""
        size = len(self._outward)
        arrays: dict[str, Any] = {
            name: np.array(self._columns[name], dtype).reshape(size, *shape)
            for name, (dtype, shape) in _COLUMNS.items()
        }
        faces = Faces(**arrays)
        outward = np.array(self._outward, np.float32).reshape(size, 3)
        wrong = np.einsum("fi,fi->f", newell(faces.verts), outward) < 0
        steps = np.arange(MAX_VERTICES)
        backwards = np.maximum(faces.count[wrong, None] - 1 - steps, 0)
        faces.verts[wrong] = np.take_along_axis(faces.verts[wrong], backwards[..., None], 1)
        return faces
