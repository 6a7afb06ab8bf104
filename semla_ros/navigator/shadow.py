"""Few coordinates of many vectors: enough to say how large a product cannot be."""

from __future__ import annotations

import numpy as np

from semla_ros.types import Float32Array, Float64Array

DIRECTIONS = 128
"""At most so many: a sixth of CLIP's width."""

_ENOUGH = 0.95
"""Share of the squares beyond which further directions rule out nothing more."""

_WORTH = 0.5
"""A shadow that keeps less than this share of the squares rules out hardly anything."""


def slack(terms: int) -> float:
    """Return the share of |x| |y| that a product of so many terms can err by in float32.

    Source: Higham, 2002, "Accuracy and Stability of Numerical Algorithms", 3.1: n u, here for
        rounded factors and with room to spare.
    """
    return 2.0 * (terms + 2) * float(np.finfo(np.float32).eps) / 2.0


class Shadow:
    """Rows on the directions in which they differ most, and the length of what is left.

    With x = h + r and y = g + s in that subspace and beside it, x.y = h.g + r.s, and
    r.s <= |r| |s|: the products are bounded from the few coordinates of h and one length.
    """

    def __init__(self, rows: Float64Array, axes: Float64Array) -> None:
        """Take (K, D) rows and (D, P) orthonormal axes, any."""
        self._axes = axes
        inside = rows @ axes
        self._inside: Float32Array = inside.astype(np.float32)
        squares = np.einsum("kd,kd->k", rows, rows)
        kept = np.einsum("kp,kp->k", inside, inside)
        self._beside: Float64Array = np.sqrt(np.maximum(squares - kept, 0.0))
        self._norms: Float64Array = np.sqrt(squares)

    @classmethod
    def of(cls, rows: Float64Array) -> Shadow | None:
        """Return the shadow of `rows` (K, D), None where they spread in too many directions."""
        axes, shares = _leading_axes(rows, min(DIRECTIONS, rows.shape[1]))
        if shares[-1] < _WORTH:
            return None
        return cls(rows, axes[:, : int(np.searchsorted(shares, _ENOUGH)) + 1])

    def at_most(self, vector: Float64Array) -> Float64Array:
        """Return (K,) numbers that the products of the rows with `vector` (D,) do not exceed."""
        inside = vector @ self._axes
        square = float(vector @ vector)
        beside = max(square - float(inside @ inside), 0.0) ** 0.5
        most = (self._inside @ inside.astype(np.float32)).astype(np.float64)
        most += beside * self._beside
        most += slack(len(vector)) * square**0.5 * self._norms
        return most


def _leading_axes(rows: Float64Array, count: int) -> tuple[Float64Array, Float64Array]:
    """Return about the first `count` principal axes (D, count) and the share of the first 1, 2 ...

    Source: Halko et al., 2011, "Finding structure with randomness": subspace iteration.
    """
    small = rows.astype(np.float32)
    sketch = np.random.default_rng(0).standard_normal((rows.shape[1], count), np.float32)
    for _ in range(2):
        sketch = np.linalg.qr(small.T @ (small @ sketch))[0]
    basis = np.linalg.qr(sketch.astype(np.float64))[0]
    inside = rows @ basis
    squares, turn = np.linalg.eigh(inside.T @ inside)
    total = max(float(np.einsum("kd,kd->", rows, rows)), np.finfo(np.float64).tiny)
    axes: Float64Array = basis @ turn[:, ::-1]
    shares: Float64Array = np.cumsum(squares[::-1]) / total
    return axes, shares
