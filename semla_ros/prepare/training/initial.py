"""Where low-rank training starts: Kaiming, PiSSA, SoMA, or recycled columns of W0 (RecycleLoRA).

All but Kaiming start inside W0: what the factors say at the start is taken out of the frozen
weight, so that the network begins as the base. `export` turns the outcome into a plain LoRA.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from semla_ros.core.errors import TrainingError
from semla_ros.core.types import Float32Array

KAIMING, PISSA, SOMA, RRQR = "kaiming", "pissa", "soma", "rrqr"


@dataclass(frozen=True, slots=True)
class Factors:
    """One pair of factors: `a` (r, in) and `b` (out, r), float32."""

    a: Float32Array
    b: Float32Array


@dataclass(frozen=True, slots=True)
class Ranks:
    """Rank of the main pair, and of the sub pair that only `rrqr` has (0: none)."""

    main: int
    sub: int = 0

    def __post_init__(self) -> None:
        if self.main < 0 or self.sub < 0 or self.main + self.sub < 1:
            raise TrainingError(
                f"expected a rank of at least 1 and no negative one, got main {self.main!r}, sub "
                f"{self.sub!r}"
            )

    @property
    def total(self) -> int:
        """Both."""
        return self.main + self.sub


@dataclass(frozen=True, slots=True)
class Start:
    """What a layer starts from; the weight in use is residual + scaling * sum of b @ a.

    Attributes:
        pairs: The pairs to train: main first, then sub; those of rank 0 are left out.
        scaling: alpha / rank.
        recycled: The pairs say something of W0 that the residual lacks.
    """

    pairs: tuple[Factors, ...]
    scaling: float
    recycled: bool

    @property
    def stacked(self) -> Factors:
        """All pairs as one: a (R, in), b (out, R)."""
        return Factors(
            np.concatenate([p.a for p in self.pairs]),
            np.concatenate([p.b for p in self.pairs], axis=1),
        )

    def residual(self, weight: Float32Array) -> Float32Array:
        """Return what stays frozen of W0 (out, in), float32."""
        if not self.recycled:
            return weight
        rest = weight.astype(np.float32, copy=True)
        for pair in self.pairs:
            rest -= np.float32(self.scaling) * (pair.b @ pair.a)
        return rest


Initialiser = Callable[[Float32Array, Ranks, float, np.random.Generator], Start]
"""From W0 (out, in), ranks, alpha and a generator to the start."""


def start_of(
    init: str, weight: Float32Array, ranks: Ranks, *, alpha: float, rng: np.random.Generator
) -> Start:
    """Return the start of one layer.

    Args:
        init: A name of `INITIALISERS`.
        weight: W0 (out, in); half precision is taken as float32.
        ranks: `sub` counts for `rrqr` alone.
        alpha: scaling = alpha / rank, of `rrqr` alpha / (main + sub).
        rng: For what is random.

    Raises:
        TrainingError: Unknown initialisation, or ranks that the layer cannot have.
    """
    if init not in INITIALISERS:
        raise TrainingError(f"expected an init of {sorted(INITIALISERS)!r}, got {init!r}")
    asked = ranks.total if init == RRQR else ranks.main
    limit = min(weight.shape)
    if asked < 1 or (init != KAIMING and asked > limit):
        raise TrainingError(
            f"init {init!r}: expected a rank of 1 to {limit} for a layer of {weight.shape}, got "
            f"{asked}: lower the rank, or leave the layer out"
        )
    return INITIALISERS[init](np.asarray(weight, np.float32), ranks, alpha, rng)


def kaiming(weight: Float32Array, ranks: Ranks, alpha: float, rng: np.random.Generator) -> Start:
    """Return a uniform `a` of bound 1 / sqrt(in) and `b` = 0. Source: Hu et al., 2022; PEFT."""
    out_features, in_features = weight.shape
    bound = 1.0 / math.sqrt(in_features)
    a = rng.uniform(-bound, bound, (ranks.main, in_features)).astype(np.float32)
    b = np.zeros((out_features, ranks.main), np.float32)
    return Start((Factors(a, b),), alpha / ranks.main, recycled=False)


def pissa(weight: Float32Array, ranks: Ranks, alpha: float, _: np.random.Generator) -> Start:
    """Return the first singular triplets of W0. Source: Meng et al., 2024, PiSSA."""
    return _triplets(weight, slice(0, ranks.main), alpha)


def soma(weight: Float32Array, ranks: Ranks, alpha: float, _: np.random.Generator) -> Start:
    """Return the last singular triplets of W0. Source: Yun et al., 2025, SoMA."""
    last = min(weight.shape)
    return _triplets(weight, slice(last - ranks.main, last), alpha)


def rrqr(weight: Float32Array, ranks: Ranks, alpha: float, _: np.random.Generator) -> Start:
    """Return orthonormal columns of a rank-revealing QR of W0 as `b`, one-hot rows as `a`.

    With W0[:, P] = Q R the main pair takes the last columns of Q, the minor directions, the sub
    pair the first ones; `a` picks the input columns P at their places. R is not used. Of a layer
    wider than high only min(out, in) pivots exist, so the "minor" ones are the last that still
    span. LAPACK's signs are kept: another sign would be another start.

    Source: RecycleLoRA (2026), parity/recycle: LAPACK's geqp3 in float32.
    """
    from scipy.linalg import qr

    q, pivots = qr(weight, pivoting=True, mode="economic")[::2]
    last = q.shape[1]
    main = _columns(q, pivots, slice(last - ranks.main, last), weight.shape[1])
    sub = _columns(q, pivots, slice(0, ranks.sub), weight.shape[1])
    pairs = tuple(p for p in (main, sub) if len(p.a))
    return Start(pairs, alpha / ranks.total, recycled=True)


INITIALISERS: Mapping[str, Initialiser] = {
    KAIMING: kaiming,
    PISSA: pissa,
    SOMA: soma,
    RRQR: rrqr,
}


def _triplets(weight: Float32Array, chosen: slice, alpha: float) -> Start:
    scaling = alpha / (chosen.stop - chosen.start)
    u, values, vt = np.linalg.svd(weight, full_matrices=False)
    root = np.sqrt(values[chosen] / scaling)
    a = np.ascontiguousarray(root[:, None] * vt[chosen], np.float32)
    b = np.ascontiguousarray(u[:, chosen] * root, np.float32)
    return Start((Factors(a, b),), scaling, recycled=True)


def _columns(q: Float32Array, pivots: np.ndarray, chosen: slice, in_features: int) -> Factors:
    b = np.ascontiguousarray(q[:, chosen], np.float32)
    a = np.zeros((b.shape[1], in_features), np.float32)
    a[np.arange(len(a)), pivots[chosen]] = 1.0
    return Factors(a, b)
